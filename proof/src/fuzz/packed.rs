//! The files of a small log in a few KB: bytes that repeat are counted. So a log of several segments can stand
//! in the repository, and a corpus that speaks of places in it stays true.
//!
//! A packed log is a row of files: `u32 name size, name, u32 size, chunks`. A chunk is `u32 count, u8 tag`, and
//! then one byte that is repeated (tag 0) or `count` bytes (tag 1).

use std::collections::BTreeMap;

/// The files of a directory by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A repetition shorter than this stands among the other bytes.
const REPEATED_MIN: usize = 16;

/// Packs files.
pub fn pack(files: &Files) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, bytes) in files {
        packed.extend_from_slice(&(name.len() as u32).to_le_bytes());
        packed.extend_from_slice(name.as_bytes());
        packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        let mut others = 0;
        let mut at = 0;
        while at < bytes.len() {
            let repeated = bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
            if repeated >= REPEATED_MIN {
                pack_others(&bytes[others..at], &mut packed);
                packed.extend_from_slice(&(repeated as u32).to_le_bytes());
                packed.extend_from_slice(&[0, bytes[at]]);
                others = at + repeated;
            }
            at += repeated;
        }
        pack_others(&bytes[others..], &mut packed);
    }
    packed
}

fn pack_others(bytes: &[u8], packed: &mut Vec<u8>) {
    if !bytes.is_empty() {
        packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        packed.push(1);
        packed.extend_from_slice(bytes);
    }
}

/// The files that [`pack`] packed.
///
/// # Panics
/// If it did not.
pub fn unpack(mut packed: &[u8]) -> Files {
    let mut files = Files::new();
    while !packed.is_empty() {
        let name_size = take_u32(&mut packed);
        let name = String::from_utf8(take(&mut packed, name_size).to_vec()).expect("names are text");
        let size = take_u32(&mut packed);
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let count = take_u32(&mut packed);
            match take(&mut packed, 1)[0] {
                0 => bytes.resize(bytes.len() + count, take(&mut packed, 1)[0]),
                _ => bytes.extend_from_slice(take(&mut packed, count)),
            }
        }
        files.insert(name, bytes);
    }
    files
}

fn take<'a>(packed: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = packed.split_at(count);
    *packed = rest;
    taken
}

fn take_u32(packed: &mut &[u8]) -> usize {
    u32::from_le_bytes(take(packed, 4).try_into().expect("four bytes")) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut files = Files::new();
        files.insert("empty".to_owned(), vec![]);
        files.insert("zeros".to_owned(), vec![0; 1 << 20]);
        let mixed = [&[1, 2, 3][..], &[7; 15], &[8; 16], &[9; 300], &[4, 5]].concat();
        files.insert("mixed".to_owned(), mixed);
        let packed = pack(&files);
        assert!(packed.len() < 150, "{}", packed.len());
        assert_eq!(unpack(&packed), files);
    }
}
