//! The config as people write it, and get it wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::detection::Level;
use crate::units::{ByteSize, Period};

fn read(text: &str) -> Result<Effective, ConfigError> {
    parse(Some((Path::new("/etc/picket/picket.toml"), text)), &Overrides::default())
}

/// The message, with the path of the file cut off.
fn fault(text: &str) -> String {
    match read(text) {
        Ok(effective) => panic!("no fault found: {:?}", effective.config),
        Err(error) => error.to_string().replace("/etc/picket/picket.toml:", ""),
    }
}

fn over(env: &[(&str, &str)], sets: &[&str]) -> Overrides {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Overrides { env, sets: sets.iter().map(|s| (*s).to_owned()).collect(), flags: Vec::new() }
}

#[test]
fn nothing_given_is_the_defaults() {
    let config = parse(None, &Overrides::default()).unwrap().config;
    let here = std::env::current_dir().unwrap();
    let defaults = Config {
        rules: vec![here.join("rules")],
        guests: vec![here.join("guests")],
        state_dir: Some(default_state_dir()),
        tuning: TuningConfig {
            paths: vec![here.join("tuning")],
            lists: vec![here.join("lists")],
            ..TuningConfig::default()
        },
        ..Config::default()
    };
    assert_eq!(config, defaults);
    assert_eq!(config.dispatch.rows, 1024);
    assert_eq!(config.dispatch.interval.duration(), Duration::from_millis(5));
    assert_eq!(config.control_socket(), default_state_dir().join("control.sock"));
}

#[test]
fn a_whole_config_is_read() {
    let config = read(
        r#"
        rules = ["rules", "/opt/rules"]
        file_event = "every-open"
        [sensor]
        ring_bytes = "16MiB"
        rung = "tracepoint"
        [dispatch]
        rows = 7
        bytes = "256KiB"
        [reload]
        max_shrink = 1
        [guest.sigma]
        memory = "64MiB"
        config.depth = 3
        config.since = 2026-01-02
        [guest.other]
        enabled = false
        [endpoint.soar]
        url = "https://soar.example/hook"
        secret_file = "secret"
        min_level = "high"
        [control]
        metrics_listen = "127.0.0.1:9464"
        [log]
        format = "json"
        "#,
    )
    .unwrap()
    .config;
    assert_eq!(config.rules, [PathBuf::from("/etc/picket/rules"), PathBuf::from("/opt/rules")]);
    assert_eq!(config.file_event, FileEvent::EveryOpen);
    assert_eq!(config.sensor.ring_bytes, Some(ByteSize::mib(16)));
    assert_eq!(config.sensor.rung, Rung::Tracepoint);
    assert_eq!((config.dispatch.rows, config.dispatch.bytes, config.dispatch.queue), (7, ByteSize::kib(256), 64));
    assert!((config.reload.max_shrink - 1.0).abs() < f64::EPSILON);
    let sigma = config.guest("sigma");
    assert_eq!((sigma.memory, sigma.cpu, sigma.rules), (ByteSize::mib(64), Period::secs(1), Some(true)));
    assert_eq!(serde_json::Value::Object(sigma.config), serde_json::json!({ "depth": 3, "since": "2026-01-02" }));
    assert_eq!((config.guest("other").enabled, config.guest("other").rules), (false, Some(false)));
    assert!(config.guest("not named").enabled);
    let soar = &config.endpoint["soar"];
    assert_eq!(soar.secret_file.as_deref(), Some(Path::new("/etc/picket/secret")));
    assert_eq!(soar.min_level, Level::High);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_name() {
    assert_eq!(
        fault("[endpoint.soar]\nurl = \"https://x\"\nsecretfile = \"s\"\n"),
        "3:1: unknown key `endpoint.soar.secretfile`, did you mean `secret_file`?"
    );
    assert_eq!(fault("ruels = []"), "1:1: unknown key `ruels`, did you mean `rules`?");
    assert_eq!(fault("\n  [dispach]\nrows = 1"), "2:4: unknown key `dispach`, did you mean `dispatch`?");
    assert_eq!(fault("[log]\nrows = 1"), "2:1: unknown key `log.rows`, did you mean `dispatch.rows`?");
    assert_eq!(fault("[log]\nzebra = 1"), "2:1: unknown key `log.zebra`");
    // Columns are characters: what an editor shows.
    assert_eq!(
        fault("log = { \"ü\" = 1, formt = 2 }").lines().last().unwrap(),
        "1:18: unknown key `log.formt`, did you mean `format`?"
    );
}

#[test]
fn a_wrong_value_names_its_place_and_what_is_expected() {
    assert_eq!(fault("strict = 1"), "1:10: `strict` must be true or false, not a whole number");
    assert_eq!(
        fault("[dispatch]\ninterval = 5"),
        "2:12: `dispatch.interval` must be a duration in quotes, like \"300ms\", not a whole number"
    );
    assert_eq!(
        fault("[dispatch]\ninterval = \"5\""),
        "2:12: `dispatch.interval`: the unit is missing: use one of ns, us, ms, s, m, h, d"
    );
    assert_eq!(fault("[dispatch]\ninterval = \"1h\""), "2:12: `dispatch.interval` must be at most 1s");
    assert_eq!(fault("[dispatch]\nrows = 0"), "2:8: `dispatch.rows` must be at least 1");
    assert_eq!(fault("[dispatch]\nrows = 0x1_0001"), "2:8: `dispatch.rows` must be at most 65536");
    assert_eq!(fault("[dispatch]\nrows = -1"), "2:8: `dispatch.rows` must be at least 1");
    assert_eq!(fault("dispatch = 3"), "1:12: `dispatch` must be a table, not a whole number");
    assert_eq!(fault("[reload]\nmax_shrink = nan"), "2:14: `reload.max_shrink` must be at least 0");
    assert_eq!(fault("[sensor]\nring_bytes = \"3MiB\""), "2:14: `sensor.ring_bytes` must be a power of two");
    assert_eq!(
        fault("[sensor]\nrung = \"kprobes\""),
        "2:8: `sensor.rung` must be one of `auto`, `kprobe`, `tracepoint`, did you mean `kprobe`?"
    );
    assert_eq!(fault("rules = [\"a\", 2]"), "1:15: `rules[1]` must be a path in quotes, not a whole number");
    assert_eq!(fault("rules = \"rules\""), "1:9: `rules` must be a list in brackets, like [\"a\", \"b\"], not a text");
    assert!(
        fault("[control]\nmetrics_listen = \"9464\"").starts_with("2:18: `control.metrics_listen` must be an address")
    );
    assert_eq!(fault("[endpoint.soar]\nmin_level = \"high\""), "1:1: `endpoint.soar` lacks `url`");
    let endpoint = |rest: &str| fault(&format!("[endpoint.soar]\nurl = \"https://x\"\n{rest}"));
    assert_eq!(endpoint("timeout = \"0s\""), "3:11: `endpoint.soar.timeout` must be at least 10ms");
    assert_eq!(endpoint("in_flight = 0"), "3:13: `endpoint.soar.in_flight` must be at least 1");
}

#[test]
fn broken_toml_names_its_place() {
    assert!(fault("rules = [\n").starts_with("2:1: ") || fault("rules = [\n").starts_with("1:"));
    assert!(fault("a = 1\na = 2").starts_with("2:1: duplicate key"), "{}", fault("a = 1\na = 2"));
}

#[test]
fn all_faults_are_told_at_once_in_order() {
    let told = fault("strict = 1\nruels = 2\n[dispatch]\nrows = \"x\"\n");
    let places: Vec<_> = told.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["1:10:", "2:1:", "4:8:"]);
}

#[test]
fn faults_have_their_place_as_data() {
    let diagnostics = read("strict = true\nruels = 2").unwrap_err().diagnostics();
    let d = &diagnostics[0];
    assert_eq!((d.file.as_str(), d.line, d.column), ("/etc/picket/picket.toml", 2, 1));
    assert_eq!((d.message.as_str(), d.help.as_str()), ("unknown key `ruels`", "did you mean `rules`?"));
}

#[test]
fn later_layers_win_and_are_named() {
    let file = "[dispatch]\nrows = 1\nqueue = 2\nreplicas = 3\ninterval = \"6ms\"\n";
    let mut overrides = over(
        &[("PICKET_DISPATCH__QUEUE", "20"), ("PICKET_DISPATCH__REPLICAS", "30"), ("PICKET_STRICT", "true")],
        &["dispatch.replicas=31", "dispatch.interval=7ms", "dispatch.replicas = 32"],
    );
    overrides.flags.push(Flag { name: "--interval", key: "dispatch.interval".into(), value: "8ms".into() });
    let effective = parse(Some((Path::new("/p.toml"), file)), &overrides).unwrap();
    let d = &effective.config.dispatch;
    assert_eq!((d.rows, d.queue, d.replicas, d.interval), (1, 20, 32, Period::millis(8)));
    assert!(effective.config.strict);
    let origin = |section: &str, key: &str| {
        let setting = effective.settings.iter().find(|s| s.section == section && s.key == key).unwrap();
        setting.origin.to_string()
    };
    assert_eq!(origin("dispatch", "rows"), "/p.toml:2:8");
    assert_eq!(origin("dispatch", "queue"), "PICKET_DISPATCH__QUEUE");
    assert_eq!(origin("dispatch", "replicas"), "--set dispatch.replicas");
    assert_eq!(origin("dispatch", "interval"), "--interval");
    assert_eq!(origin("dispatch", "bytes"), "default");
    assert_eq!(origin("", "strict"), "PICKET_STRICT");
}

#[test]
fn overrides_have_the_same_errors() {
    let told = |overrides: &Overrides| parse(None, overrides).unwrap_err().to_string();
    assert_eq!(
        told(&over(&[], &["dispatch.row=7"])),
        "--set dispatch.row: unknown key `dispatch.row`, did you mean `rows`?"
    );
    assert_eq!(
        told(&over(&[], &["dispatch.rows=many"])),
        "--set dispatch.rows: `dispatch.rows` must be a whole number, not a text"
    );
    assert_eq!(told(&over(&[], &["strict"])), "--set: `strict` is not KEY=VALUE, like `dispatch.rows=256`");
    assert_eq!(told(&over(&[], &["a b=1"])), "--set: `a b=1` is not KEY=VALUE, like `dispatch.rows=256`");
    assert_eq!(
        told(&over(&[("PICKET_DISPATCH__ROW", "7")], &[])),
        "PICKET_DISPATCH__ROW: unknown key `dispatch.row`, did you mean `rows`?"
    );
}

#[test]
fn an_override_sets_one_key_whatever_is_in_its_value() {
    let set = |set: &str| parse(None, &over(&[], &[set]));
    let value = "x\"\nstrict = true\nlog.level = \"trace";
    let effective = set(&format!("guest.a.config.text={value}")).unwrap();
    assert_eq!(effective.config.guest("a").config["text"], value);
    assert!(!effective.config.strict);
    assert_eq!(set("rules=[\"/a\",\"/b\"]").unwrap().config.rules.len(), 2);
    assert_eq!(set("guest.\"odd name\".enabled=false").unwrap().config.guest.len(), 1);
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    // The last could be the variable that a `secret_env` names.
    let env = [("PATH", "/bin"), ("PICKET_CONFIG", "/x"), ("PICKET_SOAR_SECRET", "whsec_x"), ("PICKET_LOG", "x")];
    assert_eq!(parse(None, &over(&env, &[])).unwrap().config, parse(None, &Overrides::default()).unwrap().config);
}

#[test]
fn relative_paths_start_where_they_are_written() {
    let here = std::env::current_dir().unwrap();
    let file = Some((Path::new("/etc/picket/picket.toml"), "guests = [\"../guests\"]"));
    let config = parse(file, &over(&[], &["rules=[\"r\"]", "state_dir=s"])).unwrap().config;
    assert_eq!(config.guests, [PathBuf::from("/etc/picket/../guests")]);
    assert_eq!(config.rules, [here.join("r")]);
    assert_eq!(config.state_dir(), here.join("s"));
    // Defaults are beside the file.
    assert_eq!(read("").unwrap().config.rules, [PathBuf::from("/etc/picket/rules")]);
}

#[test]
fn files_that_are_no_config_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let told = |path: &Path| effective(Some(path), &Overrides::default()).unwrap_err();
    assert!(matches!(told(&missing), ConfigError::Read { path, .. } if path == missing));
    assert!(matches!(told(dir.path()), ConfigError::Read { .. }));
    let large = dir.path().join("large.toml");
    std::fs::write(&large, vec![b'#'; MAX_FILE as usize + 1]).unwrap();
    assert!(matches!(told(&large), ConfigError::TooLarge { .. }));
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(matches!(told(&binary), ConfigError::NotText { .. }));
}

/// The commented config that is shipped is the documentation most people read: it says the defaults, and every key.
mod shipped {
    use super::*;

    const TEXT: &str = include_str!("../../../picket.toml");

    #[test]
    fn it_says_the_defaults() {
        let shipped = parse(Some((Path::new("/x/picket.toml"), TEXT)), &Overrides::default()).unwrap();
        let defaults = parse(Some((Path::new("/x/picket.toml"), "")), &Overrides::default()).unwrap();
        assert_eq!(shipped.config, defaults.config);
    }

    /// Keys that are commented out are `#key = value`, without a space; comments have one.
    fn uncommented() -> String {
        let live = |line: &str| {
            line.strip_prefix('#').filter(|l| !l.starts_with([' ', '#']) && !l.is_empty()).map(str::to_owned)
        };
        TEXT.lines().map(|l| live(l).unwrap_or_else(|| l.to_owned()) + "\n").collect()
    }

    #[test]
    fn it_names_every_key_and_no_other() {
        let text = uncommented();
        let effective = read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let unset: Vec<_> = effective
            .settings
            .iter()
            .filter(|s| s.origin.layer == Layer::Default)
            .map(|s| format!("{}.{}", s.section, s.key))
            .collect();
        assert_eq!(unset, Vec::<String>::new(), "not in picket.toml");
        assert!(!effective.config.guest.is_empty() && !effective.config.endpoint.is_empty());
    }

    #[test]
    fn every_key_has_a_comment() {
        let lines: Vec<&str> = TEXT.lines().collect();
        for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.contains(" = ") && !l.starts_with("# ")) {
            assert!(i > 0 && lines[i - 1].starts_with("# "), "no comment above line {}: {line}", i + 1);
        }
    }
}
