//! Who may have something to read that no event tells of: noted once, and looked at a moment later.
//!
//! A read ends before urgent data (tcp(7)), and what stands behind that causes no new event when it has come already. To
//! ask after each read whether there is more would cost a message a system call on each side. So whoever has read less
//! than it asked for is noted, and looks once in [`LOOK_EVERY_MS`]: a busy stream pays one call then, an idle one nothing.

/// How often those who are noted look: what is urgent is late by no more, in the rare case that it was missed.
pub(crate) const LOOK_EVERY_MS: u64 = 50;

/// What is known of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Look {
    /// There is nothing to look for.
    #[default]
    Needless,
    Noted,
    /// It is to look now.
    Due,
}

/// The places of one worker that are noted. Pure.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    of: Vec<Look>,
    noted: Vec<usize>,
}

impl Looks {
    /// There is such a place, of which nothing is known.
    pub(crate) fn insert(&mut self, index: usize) {
        if self.of.len() <= index {
            self.of.resize(index + 1, Look::Needless);
        }
        self.of[index] = Look::Needless;
    }

    /// It is to look, later. Is it the only one that is?
    pub(crate) fn note(&mut self, index: usize) -> bool {
        if self.of[index] == Look::Noted {
            return false;
        }
        self.of[index] = Look::Noted;
        self.noted.push(index);
        self.noted.len() == 1
    }

    /// Those who are noted are to look now; each is told.
    pub(crate) fn fall_due(&mut self, mut is_due: impl FnMut(usize)) {
        for index in self.noted.drain(..) {
            // It may have gone since, and another have come, which may be noted itself.
            if self.of[index] == Look::Noted {
                self.of[index] = Look::Due;
                is_due(index);
            }
        }
    }

    /// Is it to look now? It is asked once.
    pub(crate) fn take(&mut self, index: usize) -> bool {
        let is_due = self.of[index] == Look::Due;
        if is_due {
            self.of[index] = Look::Needless;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(looks: &mut Looks) -> Vec<usize> {
        let mut due = Vec::new();
        looks.fall_due(|index| due.push(index));
        due
    }

    #[test]
    fn who_is_noted_looks_once_and_who_has_no_news_since_no_more() {
        let mut looks = Looks::default();
        (0..3).for_each(|index| looks.insert(index));
        assert!(due(&mut looks).is_empty());
        // The sleeper is woken by the first; a thousand messages make no difference.
        assert!(looks.note(1) && !looks.note(1) && !looks.note(2) && !looks.note(1));
        assert!(!looks.take(1));
        assert_eq!(due(&mut looks), [1, 2]);
        assert!(looks.take(1) && !looks.take(1) && !looks.take(0));
        // There was news of one, and the other has not looked yet: that look is as good.
        assert!(looks.note(1) && !looks.note(2));
        assert_eq!(due(&mut looks), [1, 2]);
        assert!(looks.take(1) && looks.take(2));
        assert!(due(&mut looks).is_empty());
    }

    #[test]
    fn whoever_comes_to_the_place_of_one_that_is_gone_is_not_noted_for_that() {
        let mut looks = Looks::default();
        looks.insert(0);
        assert!(looks.note(0));
        looks.insert(0);
        assert!(due(&mut looks).is_empty());
        assert!(looks.note(0));
        assert_eq!(due(&mut looks), [0]);
        looks.insert(0);
        assert!(!looks.take(0));
        // Noted before it went and after: told once.
        assert!(looks.note(0));
        looks.insert(0);
        assert!(!looks.note(0));
        assert_eq!(due(&mut looks), [0]);
    }
}
