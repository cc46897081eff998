//! How programs of trials start, which need more of a machine than cargo's own tests.

use std::future::Future;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Runs the trials once the machine is ready for them; what makes it so is kept until they have ended. Where it cannot be, says
/// that `these` did not run, and why. That is a failure in CI: a skipped test must not look like a passed one where nobody
/// reads the output.
pub(crate) fn run<T>(
    these: &str,
    arguments: &Arguments,
    ready: impl FnOnce() -> Result<T, String>,
    trials: impl IntoIterator<Item = Vec<Trial>>,
) -> ExitCode {
    let ready = if arguments.list { None } else { Some(ready()) };
    if let Some(Err(reason)) = &ready {
        let in_ci = std::env::var_os("CI").is_some();
        let verdict = if in_ci { "FAILED" } else { "SKIPPED" };
        eprintln!("\n*** {verdict}: {these} did not run: {reason} ***\n");
        return ExitCode::from(u8::from(in_ci));
    }
    libtest_mimic::run(arguments, trials.into_iter().flatten().collect()).exit_code()
}

/// A trial with a runtime of its own; the daemons that it hosts have threads beside the trial's.
pub(crate) fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name.to_owned(), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failed::from(format!("no runtime: {error}")))?;
        runtime.block_on(test());
        Ok(())
    })
}
