//! Stacks that are kept, each once: thousands of pages are lost from the same few places.

use hashbrown::HashSet;

use crate::event::Stack;

/// As many are looked through for those that nobody keeps any more, at first.
const MANY: usize = 1 << 12;

/// The stacks.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    known: HashSet<Stack>,
    /// How many there were when nobody's were left out last.
    kept: usize,
}

impl Stacks {
    /// Makes a stack share its frames with those that have the same.
    pub fn share(&mut self, stack: &mut Stack) {
        if let Some(known) = self.known.get(stack) {
            *stack = known.clone();
            return;
        }
        if self.known.len() >= MANY.max(2 * self.kept) {
            self.known.retain(Stack::is_shared);
            self.kept = self.known.len();
        }
        self.known.insert(stack.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one_and_those_of_nobody_go() {
        let mut stacks = Stacks::default();
        let [mut first, mut second] = [(); 2].map(|()| Stack::new(&[1], &[2]));
        stacks.share(&mut first);
        stacks.share(&mut second);
        assert_eq!(first.kernel().as_ptr(), second.kernel().as_ptr());
        for address in 2..3 * MANY as u64 {
            stacks.share(&mut Stack::new(&[address], &[]));
        }
        assert!(stacks.known.len() <= MANY);
        assert!(stacks.known.contains(&first));
    }
}
