//! What fails in the background, where nobody waits for an answer: for whoever tells a person.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// How many failures are kept as long as nobody listens.
const KEPT: usize = 32;

/// Hears of what fails in the background. Called from within it: it must not block.
pub trait FailureListener: Send + Sync + Debug {
    /// A repair, the set-up of gateways or what an answered DEL had left to do has failed. It is tried again.
    fn failed(&self, error: &Error);
}

#[derive(Debug)]
enum Audience {
    /// Nobody yet; the latest are kept, and the oldest of them first.
    Nobody(VecDeque<Arc<Error>>),
    Somebody(Arc<dyn FailureListener>),
}

/// The failures of an agent.
#[derive(Debug)]
pub(super) struct Failures(Mutex<Audience>);

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(Audience::Nobody(VecDeque::new())))
    }
}

impl Failures {
    fn audience(&self) -> MutexGuard<'_, Audience> {
        // It is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has failed.
    pub(super) fn tell(&self, error: Arc<Error>) {
        let listener = match &mut *self.audience() {
            Audience::Somebody(listener) => listener.clone(),
            Audience::Nobody(kept) => {
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                return kept.push_back(error);
            }
        };
        listener.failed(&error);
    }

    /// Tells the listener what was kept, and from now on everything.
    pub(super) fn listen(&self, listener: Arc<dyn FailureListener>) {
        let before = std::mem::replace(&mut *self.audience(), Audience::Somebody(listener.clone()));
        if let Audience::Nobody(kept) = before {
            kept.iter().for_each(|error| listener.failed(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl FailureListener for Heard {
        fn failed(&self, error: &Error) {
            self.0.lock().unwrap().push(error.subject().to_owned());
        }
    }

    #[test]
    fn who_listens_late_hears_the_latest_of_what_was_before() {
        let failures = Failures::default();
        let fail = |subject: usize| {
            failures.tell(Arc::new(Error::new(ErrorKind::Transient, "set up pod", subject)));
        };
        (0..KEPT + 2).for_each(fail);
        let heard = Arc::new(Heard::default());
        failures.listen(heard.clone());
        fail(1000);
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard.len(), KEPT + 1);
        assert_eq!((&*heard[0], &*heard[KEPT]), ("2", "1000"));
    }
}
