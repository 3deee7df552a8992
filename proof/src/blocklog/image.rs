//! The contents of a device in memory: only pages that are not zero.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a device tears at most.
pub(super) const SECTOR: usize = 512;
const PAGE: usize = 4096;
const SECTORS_OF_A_PAGE: u64 = (PAGE / SECTOR) as u64;

type Page = Box<[u8; PAGE]>;

/// A device's contents.
#[derive(Clone, Default)]
pub(super) struct Image {
    bytes: u64,
    pages: HashMap<u64, Page>,
}

impl Image {
    /// What a file holds.
    pub(super) fn of_file(path: &Path) -> io::Result<Image> {
        let mut file = File::open(path)?;
        let mut image = Image { bytes: file.metadata()?.len(), pages: HashMap::new() };
        let mut page = [0; PAGE];
        for number in 0..image.bytes / PAGE as u64 {
            file.read_exact(&mut page)?;
            if page.iter().any(|byte| *byte != 0) {
                image.pages.insert(number, Box::new(page));
            }
        }
        Ok(image)
    }

    /// Puts bytes, whole sectors, at a sector.
    pub(super) fn write(&mut self, sector: u64, bytes: &[u8]) {
        for (number, bytes) in (sector..).zip(bytes.chunks_exact(SECTOR)) {
            let page = self.pages.entry(number / SECTORS_OF_A_PAGE).or_insert_with(|| Box::new([0; PAGE]));
            let at = (number % SECTORS_OF_A_PAGE) as usize * SECTOR;
            page[at..at + SECTOR].copy_from_slice(bytes);
        }
    }

    /// Makes a file of it, with holes where there is nothing. `above`: what hides pages of this image.
    pub(super) fn write_file(&self, above: &Image, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.bytes)?;
        for (number, page) in self.pages.iter().filter(|(number, _)| !above.pages.contains_key(number)) {
            file.write_all_at(&page[..], number * PAGE as u64)?;
        }
        for (number, page) in &above.pages {
            file.write_all_at(&page[..], number * PAGE as u64)?;
        }
        Ok(())
    }

    /// An image that hides pages of this one when it is written above it; the pages that hold these sectors.
    pub(super) fn above(&self, sectors: impl Iterator<Item = u64>) -> Image {
        let mut above = Image::default();
        for number in sectors.map(|sector| sector / SECTORS_OF_A_PAGE) {
            if let Some(page) = self.pages.get(&number) {
                above.pages.entry(number).or_insert_with(|| page.clone());
            }
        }
        above
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there_and_an_image_above_hides_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, vec![1; 4 * PAGE]).unwrap();
        let mut image = Image::of_file(&path).unwrap();
        image.write(9, &[2; 2 * SECTOR]);
        let mut above = image.above([10].into_iter());
        above.write(10, &[3; SECTOR]);
        image.write_file(&above, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let expected = |sector| match sector {
            9 => 2,
            10 => 3,
            _ => 1,
        };
        assert_eq!(bytes.len(), 4 * PAGE);
        assert!(bytes.chunks(SECTOR).enumerate().all(|(sector, bytes)| bytes.iter().all(|b| *b == expected(sector))));
    }
}
