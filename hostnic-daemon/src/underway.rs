//! The pods whose ADDs are running at this moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostnic_core::attachment::PodRef;

/// The pods that are being given interfaces; copies are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Underway {
    pods: Arc<Mutex<Vec<PodRef>>>,
}

/// A running ADD of a pod; over when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    of: Underway,
    pod: PodRef,
}

impl Underway {
    /// An ADD of the pod begins.
    pub(crate) fn begin(&self, pod: &PodRef) -> Running {
        self.lock().push(pod.clone());
        Running { of: self.clone(), pod: pod.clone() }
    }

    /// All of them, a pod twice that has two ADDs.
    pub(crate) fn pods(&self) -> Vec<PodRef> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PodRef>> {
        // Every change of the list is one call.
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut pods = self.of.lock();
        if let Some(at) = pods.iter().position(|pod| *pod == self.pod) {
            pods.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_there_as_long_as_one_of_its_adds_runs() {
        let underway = Underway::default();
        let pod = PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None };
        let first = underway.begin(&pod);
        let second = underway.clone().begin(&pod);
        drop(first);
        assert_eq!(underway.pods(), [pod]);
        drop(second);
        assert_eq!(underway.pods(), []);
    }
}
