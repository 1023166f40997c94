//! The processes behind the rows of a block: each image once, each text of them once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bytes::{Damaged, In, Out, ReadTexts, Texts};
use crate::process::{ANCESTORS, Caps, Container, Image, Key, Namespaces, Ns, Process, UserSource};

/// Processes of an open block. They are known by where they are in memory, so each that was seen is kept until the block closes.
#[derive(Default)]
pub struct Processes {
    texts: Texts,
    images: Out,
    image_count: u64,
    seen_images: FxHashMap<usize, (Arc<Image>, u64)>,
    chains: Out,
    count: u64,
    seen: FxHashMap<usize, (Arc<Process>, u64)>,
}

impl Processes {
    /// The number of a process, from 1; 0 = none.
    pub fn number(&mut self, process: Option<&Arc<Process>>) -> u64 {
        let Some(process) = process else { return 0 };
        let place = Arc::as_ptr(process) as usize;
        if let Some((_, number)) = self.seen.get(&place) {
            return *number;
        }
        let own = self.image(&process.image);
        self.chains.0.extend_from_slice(&process.id.to_le_bytes());
        self.chains.number(own);
        self.chains.number(process.ancestors.len() as u64);
        for ancestor in &process.ancestors {
            let number = self.image(ancestor);
            self.chains.number(number);
        }
        self.count += 1;
        self.seen.insert(place, (process.clone(), self.count));
        self.count
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.texts.size() + self.images.0.len() + self.chains.0.len()
    }

    pub fn write(&self, out: &mut Out) {
        self.texts.write(out);
        out.number(self.image_count);
        out.0.extend_from_slice(&self.images.0);
        out.number(self.count);
        out.0.extend_from_slice(&self.chains.0);
    }

    fn image(&mut self, image: &Arc<Image>) -> u64 {
        let place = Arc::as_ptr(image) as usize;
        if let Some((_, number)) = self.seen_images.get(&place) {
            return *number;
        }
        let Processes { texts, images: out, .. } = self;
        let mut pen = Pen { texts, out };
        pen.out.number(u64::from(image.key.tgid));
        pen.out.number(image.key.start);
        for text in [&image.name, &image.exe, &image.executed, &image.cmdline, &image.cwd, &image.user, &image.login] {
            pen.text(text.as_deref());
        }
        for text in [&image.cgroup, &image.tty] {
            pen.text(text.as_deref());
        }
        pen.list(image.argv.as_deref());
        pen.list(image.env.as_deref());
        for number in [
            image.create_time,
            image.euid.map(u64::from),
            image.login_uid.map(u64::from),
            image.session.map(u64::from),
            image.caps.map(|c| c.effective),
            image.caps.map(|c| c.permitted),
        ] {
            pen.out.maybe(number);
        }
        for (ns, _) in Ns::ALL {
            pen.out.maybe(image.namespaces.and_then(|n| n.get(ns)).map(u64::from));
        }
        pen.text(image.user_source.map(|s| s.name().as_bytes()));
        pen.text(image.sha256());
        pen.container(image.container.as_deref());
        let number = self.image_count;
        self.image_count += 1;
        self.seen_images.insert(place, (image.clone(), number));
        number
    }
}

struct Pen<'a> {
    texts: &'a mut Texts,
    out: &'a mut Out,
}

impl Pen<'_> {
    /// 0 = not known.
    fn text(&mut self, text: Option<&[u8]>) {
        let number = text.map_or(0, |t| self.texts.number(t) + 1);
        self.out.number(number);
    }

    fn list(&mut self, list: Option<&[Box<[u8]>]>) {
        self.out.number(list.map_or(0, |items| items.len() as u64 + 1));
        for item in list.unwrap_or_default() {
            let number = self.texts.number(item);
            self.out.number(number);
        }
    }

    fn container(&mut self, container: Option<&Container>) {
        self.text(container.map(|c| c.id.as_bytes()));
        let Some(c) = container else { return };
        for text in [&c.runtime, &c.name, &c.image, &c.pod, &c.namespace] {
            self.text(text.as_deref().map(str::as_bytes));
        }
        self.list(Some(&c.labels));
    }
}

/// Reads what [`Processes::write`] wrote.
pub fn read(input: &mut In<'_>) -> Result<Vec<Arc<Process>>, Damaged> {
    let mut texts = ReadTexts::read(input)?;
    let count = input.count()?;
    let mut images = Vec::with_capacity(count);
    for _ in 0..count {
        images.push(Arc::new(image(input, &mut texts)?));
    }
    let count = input.count()?;
    let mut processes = Vec::with_capacity(count);
    for _ in 0..count {
        let id = u64::from_le_bytes(input.take(8)?.try_into().map_err(|_| Damaged)?);
        let mut one = || images.get(input.number()? as usize).cloned().ok_or(Damaged);
        let image = one()?;
        let ancestors = input.count()?;
        if ancestors > ANCESTORS {
            return Err(Damaged);
        }
        let mut one = || images.get(input.number()? as usize).cloned().ok_or(Damaged);
        let ancestors = (0..ancestors).map(|_| one()).collect::<Result<_, _>>()?;
        processes.push(Arc::new(Process { id, image, ancestors }));
    }
    Ok(processes)
}

fn image(input: &mut In<'_>, texts: &mut ReadTexts) -> Result<Image, Damaged> {
    let key = Key { tgid: narrow(input.number()?)?, start: input.number()? };
    let mut text = |input: &mut In<'_>| match input.number()? {
        0 => Ok(None),
        number => texts.shared(number - 1).map(Some),
    };
    let name = text(input)?;
    let exe = text(input)?;
    let executed = text(input)?;
    let cmdline = text(input)?;
    let cwd = text(input)?;
    let user = text(input)?;
    let login = text(input)?;
    let cgroup = text(input)?;
    let tty = text(input)?;
    let argv = list(input, texts)?.map(Arc::from);
    let env = list(input, texts)?.map(Arc::from);
    let create_time = input.maybe()?;
    let small = |input: &mut In<'_>| input.maybe()?.map(narrow).transpose();
    let euid = small(input)?;
    let login_uid = small(input)?;
    let session = small(input)?;
    let caps = match (input.maybe()?, input.maybe()?) {
        (Some(effective), Some(permitted)) => Some(Caps { effective, permitted }),
        _ => None,
    };
    let mut inodes = [None; Ns::ALL.len()];
    for inode in &mut inodes {
        *inode = small(input)?;
    }
    let known = inodes.iter().any(Option::is_some);
    let namespaces = known.then(|| Namespaces::new(|ns, _| inodes[ns as usize]));
    let user_source = short(input, texts)?.and_then(|name| UserSource::from_name(&name));
    let sha256 = short(input, texts)?;
    let container = container(input, texts)?.map(Arc::new);
    let image = Image {
        key,
        name,
        exe,
        executed,
        cmdline,
        argv,
        cwd,
        create_time,
        euid,
        login_uid,
        user,
        user_source,
        login,
        cgroup,
        env,
        tty,
        session,
        caps,
        namespaces,
        container,
        ..Image::default()
    };
    Ok(image.with_sha256(sha256.as_deref().map(str::as_bytes)))
}

fn narrow(number: u64) -> Result<u32, Damaged> {
    u32::try_from(number).map_err(|_| Damaged)
}

/// A list of texts; none is not an empty one.
type Items = Option<Box<[Box<[u8]>]>>;

fn list(input: &mut In<'_>, texts: &ReadTexts) -> Result<Items, Damaged> {
    let Some(count) = input.count()?.checked_sub(1) else { return Ok(None) };
    (0..count).map(|_| texts.get(input.number()?).map(Box::from)).collect::<Result<_, _>>().map(Some)
}

/// A text that Picket itself wrote as UTF-8.
fn short(input: &mut In<'_>, texts: &ReadTexts) -> Result<Option<Box<str>>, Damaged> {
    let Some(number) = input.number()?.checked_sub(1) else { return Ok(None) };
    std::str::from_utf8(texts.get(number)?).map(|t| Some(t.into())).map_err(|_| Damaged)
}

fn container(input: &mut In<'_>, texts: &ReadTexts) -> Result<Option<Container>, Damaged> {
    let Some(id) = short(input, texts)? else { return Ok(None) };
    let mut text = || short(input, texts);
    let (runtime, name, image, pod, namespace) = (text()?, text()?, text()?, text()?, text()?);
    let labels = list(input, texts)?.unwrap_or_default();
    Ok(Some(Container { id, runtime, name, image, pod, namespace, labels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_come_back_as_they_were_and_share_what_they_shared() {
        let text = |t: &[u8]| Some(Arc::from(t));
        let parent = Arc::new(Image {
            key: Key { tgid: 1, start: 5 },
            exe: text(b"/sbin/init"),
            ..Image::default().with_sha256(None)
        });
        let full = Image {
            key: Key { tgid: 77, start: 1 << 40 },
            name: text(b"sh"),
            exe: text(b"/bin/\xffdash"),
            executed: text(b"/bin/sh"),
            cmdline: text(b"sh -c x"),
            argv: Some(Arc::new([b"sh"[..].into(), b"-c"[..].into(), b""[..].into()])),
            cwd: text(b"/"),
            create_time: Some(1_700_000_000_000_000_001),
            euid: Some(0),
            login_uid: Some(1000),
            user: text(b"root"),
            user_source: Some(UserSource::Container),
            login: text(b"someone"),
            cgroup: text(b"session-1.scope"),
            env: Some(Arc::new([b"LD_PRELOAD=/x"[..].into()])),
            tty: text(b"pts0"),
            session: Some(70),
            caps: Some(Caps { effective: u64::MAX, permitted: 1 }),
            namespaces: Some(Namespaces::new(|_, name| (name != "ipc").then_some(name.len() as u32))),
            container: Some(Arc::new(Container {
                id: "abc".into(),
                image: Some("alpine".into()),
                labels: Box::new([b"k=v"[..].into()]),
                ..Container::default()
            })),
            ..Image::default().with_sha256(Some(b"00ff"))
        };
        let child = Arc::new(Process { id: 9, image: Arc::new(full), ancestors: [parent.clone()].into() });
        let init = Arc::new(Process { id: 1, image: parent, ancestors: Box::default() });
        let mut written = Processes::default();
        let numbers = [Some(&child), None, Some(&init), Some(&child)].map(|p| written.number(p));
        assert_eq!(numbers, [1, 0, 2, 1]);
        let mut out = Out::default();
        written.write(&mut out);
        let again = read(&mut In(&out.0)).unwrap();
        assert_eq!(again, [child, init]);
        assert!(Arc::ptr_eq(&again[0].ancestors[0], &again[1].image));
        for cut in 0..out.0.len() {
            assert!(read(&mut In(&out.0[..cut])).is_err(), "cut at {cut}");
        }
    }
}
