//! The official SDK for Python, unmodified, against the simulator.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use hostnic_core::sim::Durations;
use tokio::process::Command;

use crate::{config, start_with};

const SDK: &str = "qingcloud-sdk==1.2.16";

#[tokio::test]
async fn the_python_sdk_takes_it_for_the_real_api() {
    let python = match install().await {
        Ok(python) => python,
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {SDK} cannot be installed here, so it is not tested against: {why}");
            return;
        }
        Err(why) => panic!("{SDK} cannot be installed: {why}"),
    };
    let mut config = config();
    let job = Duration::from_millis(500);
    config.durations = Durations { attach: job, detach: job, reserve: job };
    let (simulator, _) = start_with(config).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulator/sdk.py");
    let run = Command::new(python).arg(script).arg(simulator.address().port().to_string()).output();
    let output = run.await.unwrap();
    assert!(output.status.success(), "{}", both(&output));
    // Nothing of what it did is left.
    assert_eq!(simulator.cloud().snapshot().len(), 2);
}

/// The Python of a virtual environment with the SDK, made once.
async fn install() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("qingcloud-sdk");
    let python = folder.join("bin/python");
    if run(&python, &["-c", "import qingcloud.iaas"]).await.is_ok() {
        return Ok(python);
    }
    run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()]).await?;
    run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK]).await?;
    Ok(python)
}

async fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().await.map_err(|error| error.to_string())?;
    output.status.success().then_some(()).ok_or_else(|| both(&output))
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
