//! One thread that asks the kernel for all, and goes to the namespaces of pods, one after the other.
//!
//! A socket stays in the namespace that it was opened in, whatever becomes of the thread. So one thread opens them for all
//! pods and drives them together, with whatever asks by them: a thread for each would cost more than what the kernel is
//! asked by it, and so would the way from thread to thread and back with each request. The kernel carries out most requests
//! one at a time anyway.

use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::error;
use crate::netns::Netns;

/// Something to be done on the thread, which is told where its home is. An error when the thread is not there after it.
type Errand = Box<dyn FnOnce(&Netns) -> Result<()> + Send>;

/// The thread. It ends when this is dropped, and closes the sockets that it drives.
#[derive(Debug)]
pub(crate) struct Visitor {
    errands: mpsc::UnboundedSender<Errand>,
}

impl Visitor {
    /// Starts the thread, at home in the namespace of the caller's.
    ///
    /// # Errors
    /// `Transient` when no thread or descriptor is to be had.
    pub(crate) fn start() -> Result<Self> {
        let failed = |e| error::io(e, "start netlink thread", "of the node");
        let home = Netns::current()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (errands, queue) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("hostnic-netlink".into());
        let run = move || LocalSet::new().block_on(&runtime, run(home, queue));
        thread.spawn(run).map_err(failed)?;
        Ok(Self { errands })
    }

    /// Whether the thread has ended, which it does when it does not find home.
    pub(crate) fn is_gone(&self) -> bool {
        self.errands.is_closed()
    }

    /// Does `work`, which must be short, on the thread, which is at home.
    ///
    /// Dropping the future does not stop the work.
    ///
    /// # Errors
    /// Those of the work; `Transient` when the thread has ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.send(|_| (work(), Ok(()))).await
    }

    /// Has the thread drive what `work` makes, beside all else that it drives. Dropping the future stops that.
    ///
    /// # Errors
    /// Those of the work; `Transient` when the thread has ended.
    pub(crate) async fn drive<T: Send + 'static, F: Future<Output = Result<T>> + 'static>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T> {
        let (mut answer, answered) = oneshot::channel();
        let begin = move |_: &Netns| {
            let work = work();
            tokio::task::spawn_local(async move {
                let done = tokio::select! {
                    done = work => done,
                    () = answer.closed() => return,
                };
                let _ = answer.send(done);
            });
            Ok(())
        };
        self.errands.send(Box::new(begin)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Does `work`, which must be short, on the thread inside a namespace. It may leave tasks behind there, which the thread
    /// drives from then on ([`tokio::task::spawn_local`]).
    ///
    /// Dropping the future does not stop the work.
    ///
    /// # Errors
    /// As [`Netns::verify`]; those of the work; `Transient` when the thread has ended.
    pub(crate) async fn visit<T: Send + 'static>(
        &self,
        netns: &Netns,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inside = netns.try_clone()?;
        let visit = move |home: &Netns| match inside.enter() {
            Ok(()) => (work(), home.enter()),
            // It is where it was.
            Err(error) => (Err(error), Ok(())),
        };
        self.send(visit).await
    }

    async fn send<T: Send + 'static>(
        &self,
        errand: impl FnOnce(&Netns) -> (Result<T>, Result<()>) + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let errand = move |home: &Netns| {
            let (done, back) = errand(home);
            // Nobody listens any more when the caller was dropped.
            let _ = answer.send(done);
            back
        };
        self.errands.send(Box::new(errand)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Transient, "ask", "the netlink thread of the node")
        .detail("it has ended; it is started anew")
}

async fn run(home: Netns, mut errands: mpsc::UnboundedReceiver<Errand>) {
    while let Some(errand) = errands.recv().await {
        if let Err(error) = errand(&home) {
            tracing::error!(error = %error.chain(), "the netlink thread of the node does not find home; another one is started");
            return;
        }
    }
}
