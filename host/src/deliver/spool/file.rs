//! The file: opening, verifying, setting a damaged one aside.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable, StorageError};

use super::row::parse;
use super::{Book, DEAD, ENDPOINTS, FORMAT, IDS, MESSAGES, META, QUEUE, RECENT, SpoolError};

/// Why a file could not be opened.
pub(super) enum Opening {
    Damaged,
    Other(redb::Error),
    Create(std::io::Error),
}

impl Opening {
    pub(super) fn into_error(self, path: &Path) -> SpoolError {
        let path = path.to_owned();
        match self {
            Opening::Other(redb::Error::DatabaseAlreadyOpen) => SpoolError::InUse { path },
            Opening::Other(source) => SpoolError::Storage { path, doing: "opening", source: Box::new(source) },
            Opening::Create(source) => SpoolError::Create { path, source },
            Opening::Damaged => SpoolError::Create { path, source: std::io::Error::other("a new spool is damaged") },
        }
    }
}

/// Opens, verifying every page: the file is read whole once, which is the price for never trusting a damaged one.
pub(super) fn open_checked(path: &Path) -> Result<(Database, Book, u64), Opening> {
    use std::os::unix::fs::OpenOptionsExt;
    // Created here rather than by redb: alerts hold command lines, nobody else may read them.
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Opening::Create)?;
    let classify = |error: redb::Error| match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::RepairAborted => Opening::Damaged,
        redb::Error::Io(e)
            if matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            Opening::Damaged
        }
        other => Opening::Other(other),
    };
    // A panic inside redb on a file that something else wrote must not stop the service from starting.
    let opened = std::panic::catch_unwind(|| {
        let mut db = Database::builder()
            .set_cache_size(64 << 20)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(redb::Error::from)?;
        let (book, clock) = load(&mut db)?;
        Ok((db, book, clock))
    });
    match opened {
        Ok(result) => result.map_err(classify),
        Err(_) => Err(Opening::Damaged),
    }
}

/// Reads the counters, creating the tables in a new file; compacts a file that is mostly air.
pub(super) fn load(db: &mut Database) -> Result<(Book, u64), redb::Error> {
    let mut write = db.begin_write()?;
    write.set_two_phase_commit(true);
    let (mut book, clock) = (Book::default(), {
        let mut meta = write.open_table(META)?;
        let format = meta.get("format")?.map(|v| v.value());
        match format {
            None => drop(meta.insert("format", FORMAT)?),
            Some(FORMAT) => {}
            Some(other) => {
                return Err(StorageError::Corrupted(format!("format {other}, this build reads {FORMAT}")).into());
            }
        }
        meta.get("clock")?.map_or(0, |v| v.value())
    });
    {
        let meta = write.open_table(META)?;
        book.next_seq = meta.get("next_seq")?.map_or(1, |v| v.value());
        book.bytes = meta.get("bytes")?.map_or(0, |v| v.value());
        for row in write.open_table(ENDPOINTS)?.iter()? {
            let (name, row) = row?;
            book.rows.insert(name.value().to_owned(), parse(row.value())?);
        }
        write.open_table(MESSAGES)?;
        write.open_table(QUEUE)?;
        write.open_table(DEAD)?;
        write.open_table(IDS)?;
        write.open_table(RECENT)?;
    }
    let stats = write.stats()?;
    let (stored, allocated) = (stats.stored_bytes(), stats.allocated_pages() * stats.page_size() as u64);
    write.commit()?;
    if allocated > (64 << 20) && stored < allocated / 4 {
        db.compact().map_err(redb::Error::from)?;
    }
    Ok((book, clock))
}

pub(super) fn move_aside(path: &Path) -> Result<PathBuf, SpoolError> {
    let fail = |source| SpoolError::MoveAside { path: path.to_owned(), source };
    let mut target = PathBuf::new();
    for n in 1..=1000 {
        target = path.with_extension(format!("redb.damaged-{n}"));
        if !target.exists() {
            break;
        }
    }
    std::fs::rename(path, &target).map_err(fail)?;
    Ok(target)
}
