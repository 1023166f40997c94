//! How values stand in the tables.

use redb::StorageError;
use serde::Serialize;

use super::OVERHEAD;

/// Level, time accepted, attempts, last fault, times alone, not before.
pub(super) type QueueRow = (u8, u64, u32, u16, u32, u64);

/// JSON in the file that does not parse is damage.
pub(super) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|e| StorageError::Corrupted(format!("bad row: {e}")).into())
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|e| StorageError::Corrupted(format!("row cannot be written: {e}")).into())
}

pub(super) fn pack(accepted: u64, id: &str, body: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(10 + id.len() + body.len());
    row.extend_from_slice(&accepted.to_le_bytes());
    row.extend_from_slice(&(id.len() as u16).to_le_bytes());
    row.extend_from_slice(id.as_bytes());
    row.extend_from_slice(body);
    row
}

pub(super) fn unpack(row: &[u8]) -> Result<(u64, &str, &[u8]), redb::Error> {
    fn split(row: &[u8]) -> Option<(u64, &str, &[u8])> {
        let (accepted, rest) = row.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (id, body) = rest.split_at_checked(u16::from_le_bytes(*length) as usize)?;
        Some((u64::from_le_bytes(*accepted), std::str::from_utf8(id).ok()?, body))
    }
    split(row).ok_or_else(|| StorageError::Corrupted("bad message row".to_owned()).into())
}

/// Charge of one message against the limit.
pub(super) fn charge(id: &str, body: &[u8]) -> u64 {
    id.len() as u64 + body.len() as u64 + OVERHEAD
}
