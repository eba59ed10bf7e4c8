//! What is mapped where pages are pinned, by name.
//!
//! Of each address the last name is kept, with since when it is that: a pin that is older was of something else, whose
//! name is forgotten. It all goes with the address space, whose number may soon be another's.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    encode::Writer,
    event::{Mm, Time, VmaName},
};

/// A VMA with a name.
#[derive(Clone, Debug)]
struct Named {
    end: u64,
    name: Rc<str>,
    since: Time,
}

/// By address space and first address; they do not overlap.
#[derive(Clone, Debug, Default)]
pub struct VmaNames(BTreeMap<(Mm, u64), Named>);

impl VmaNames {
    /// A VMA has a name at a time.
    pub fn tell(&mut self, vma: &VmaName, time: Time) {
        let before = self.0.range(..(vma.mm, vma.end)).rev();
        let before = before.take_while(|((mm, _), named)| *mm == vma.mm && named.end > vma.start);
        let before: Vec<_> = before.map(|(key, named)| (*key, named.clone())).collect();
        // One that has grown, or was split, is what it was.
        let same = before.iter().filter(|(_, named)| *named.name == *vma.name);
        let since = same.map(|(_, named)| named.since).fold(time, Time::min);
        for (key, _) in &before {
            self.0.remove(key);
        }
        let name = Rc::clone(&vma.name);
        self.0.insert((vma.mm, vma.start), Named { end: vma.end, name, since });
    }

    /// The name of what was mapped at an address at a time; empty for anonymous memory.
    pub fn at(&self, mm: Mm, address: u64, time: Time) -> Option<&Rc<str>> {
        let (key, named) = self.0.range(..=(mm, address)).next_back()?;
        (key.0 == mm && address < named.end && named.since <= time).then_some(&named.name)
    }

    /// An address space is gone.
    pub fn forget(&mut self, mm: Mm) {
        let of_it = self.0.range((mm, 0)..=(mm, u64::MAX)).map(|(key, _)| *key);
        for key in of_it.collect::<Vec<_>>() {
            self.0.remove(&key);
        }
    }

    /// All of them, as a keyframe tells them.
    pub fn write(&self, writer: &mut Writer) {
        for ((mm, start), Named { end, name, since }) in &self.0 {
            writer.at(*since).vma_name(*mm, *start, *end, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(told: &[(Time, u64, u64, &str)]) -> VmaNames {
        let mut names = VmaNames::default();
        for (time, start, end, name) in told {
            let name = (*name).into();
            names.tell(&VmaName { mm: 7, start: *start, end: *end, name }, *time);
        }
        names
    }

    fn at(names: &VmaNames, address: u64, time: Time) -> Option<&str> {
        names.at(7, address, time).map(|name| &**name)
    }

    #[test]
    fn a_pin_is_of_what_was_mapped_then() {
        let names = names(&[(1, 0x1000, 0x3000, "[heap]"), (5, 0x2000, 0x4000, "/dev/shm/x")]);
        assert_eq!(at(&names, 0x2000, 5), Some("/dev/shm/x"));
        assert_eq!(at(&names, 0x2000, 4), None, "it was the heap then, which is forgotten");
        assert_eq!(at(&names, 0x4000, 9), None);
        assert_eq!(names.at(8, 0x2000, 9), None);
    }

    #[test]
    fn a_mapping_that_grows_keeps_its_name_and_time() {
        let names = names(&[(1, 0x1000, 0x3000, "[heap]"), (5, 0x1000, 0x9000, "[heap]")]);
        assert_eq!(
            (at(&names, 0x1000, 1), at(&names, 0x8000, 5)),
            (Some("[heap]"), Some("[heap]"))
        );
    }

    #[test]
    fn an_address_space_that_is_gone_takes_its_names_along() {
        let mut names = names(&[(1, 0x1000, 0x3000, "")]);
        assert_eq!(at(&names, 0x1000, 1), Some(""));
        names.forget(7);
        assert_eq!(at(&names, 0x1000, 1), None);
    }
}
