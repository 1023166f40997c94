//! Texts that many processes have: one copy of each that was seen lately.
//!
//! The same few programs are started over and over, in the same few directories. That their rows share a text saves memory,
//! and a projection sees by its address that two rows hold the same.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A text is looked for in one place only, so there is nothing to evict; one that was driven out is copied again.
const PLACES: usize = 2048;

/// See the module.
pub(super) struct Texts {
    /// Paths come from attackers, who are not to choose the places.
    seed: u64,
    places: Vec<Option<Arc<[u8]>>>,
}

impl Texts {
    pub fn new() -> Texts {
        Texts { seed: RandomState::new().hash_one(0_u8), places: vec![None; PLACES] }
    }

    /// The copy of `text` that others have, or a new one.
    pub fn share(&mut self, text: &[u8]) -> Arc<[u8]> {
        let place = &mut self.places[xxh3_64_with_seed(text, self.seed) as usize % PLACES];
        match place {
            Some(known) if **known == *text => known.clone(),
            _ => place.insert(text.into()).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_while_few_others_come() {
        let mut texts = Texts::new();
        let (first, other) = (texts.share(b"/usr/bin/bash"), texts.share(b"/usr/bin/env"));
        assert_eq!((&*first, &*other), (&b"/usr/bin/bash"[..], &b"/usr/bin/env"[..]));
        if !Arc::ptr_eq(&first, &texts.share(b"/usr/bin/bash")) {
            // The two have one place.
            assert!(Arc::ptr_eq(&texts.share(b"/usr/bin/bash"), &texts.share(b"/usr/bin/bash")));
        }
        for i in 0..3 * PLACES {
            let text = i.to_string();
            assert_eq!(*texts.share(text.as_bytes()), *text.as_bytes());
        }
        assert_eq!(texts.places.len(), PLACES);
    }
}
