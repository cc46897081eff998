//! The flags of `hostnic-daemon start` that are no settings, and what settings and they must be together.

use std::time::Duration;

use hostnic_core::id::SubnetId;

use crate::settings::{Flags, Setting, Settings, Source};
use crate::simulated::SimSubnet;

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) settings: Flags,
    #[command(flatten)]
    pub(super) sim: SimFlags,
}

/// The simulated cloud is made anew at each start, for tests, so that nothing but flags describes it.
#[derive(Debug, clap::Args)]
pub(super) struct SimFlags {
    /// A subnet of the simulated cloud; may be repeated [default: vxnet-sim=192.168.50.0/24].
    #[arg(long = "sim-subnet", value_name = "ID=PREFIX")]
    subnets: Vec<SimSubnet>,
    /// How long the simulated cloud takes to attach or detach NICs, in milliseconds [default: 500].
    #[arg(long = "sim-job-ms", value_name = "MS")]
    job_ms: Option<u64>,
}

/// Flags and settings that are fine each, and not together.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlagError {
    /// A flag of the other cloud.
    #[error("{flag} is for --provider {of}; leave it out, or choose that provider")]
    Misplaced { flag: String, of: &'static str },
    /// Nowhere to get NICs from.
    #[error(
        "--vxnet is missing: name the vxnets that pods get their NICs from, as in --vxnet vxnet-a,vxnet-b"
    )]
    NoVxnet,
}

impl SimFlags {
    /// The subnets of the simulated cloud.
    pub(super) fn subnets(&self) -> Result<Vec<SimSubnet>, hostnic_core::id::InvalidValue> {
        if self.subnets.is_empty() {
            return Ok(vec!["vxnet-sim=192.168.50.0/24".parse()?]);
        }
        Ok(self.subnets.clone())
    }

    /// How long its jobs take.
    pub(super) fn job(&self) -> Duration {
        Duration::from_millis(self.job_ms.unwrap_or(500))
    }

    /// Refuses all of them, where another cloud was chosen.
    pub(super) fn refuse(&self) -> Result<(), FlagError> {
        let subnet = self.subnets.first().map(|subnet| format!("--sim-subnet {subnet}"));
        let job = self.job_ms.map(|ms| format!("--sim-job-ms {ms}"));
        misplaced(subnet.or(job), "sim")
    }
}

/// The vxnets that the pool draws from, of which there must be one but on Kubernetes, which says it later.
pub(super) fn vxnets(settings: &Settings) -> Result<Vec<SubnetId>, FlagError> {
    let vxnets = settings.vxnets.value.clone();
    // On Kubernetes they are what a node's may be chosen from.
    if settings.kubernetes.enabled.value {
        return Ok(Vec::new());
    }
    if vxnets.is_empty() { Err(FlagError::NoVxnet) } else { Ok(vxnets) }
}

/// Refuses QingCloud's flags, where another cloud was chosen. A file or the environment may go on to describe it.
pub(super) fn refuse_qingcloud(settings: &Settings) -> Result<(), FlagError> {
    fn flag<T>(setting: &Setting<T>, text: impl FnOnce(&T) -> String) -> Option<String> {
        let by_flag = matches!(setting.source, Source::Flag { .. });
        by_flag.then(|| setting.source.line(&text(&setting.value)))
    }
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let file = flag(&settings.access_file, path);
    let zone = flag(&settings.zone, |zone| zone.choose(None).unwrap_or_default().to_owned());
    let vxnet = flag(&settings.vxnets, |vxnets| vxnets.first().map(ToString::to_string).unwrap_or_default());
    misplaced(file.or(zone).or(vxnet), "qingcloud")
}

fn misplaced(given: Option<String>, of: &'static str) -> Result<(), FlagError> {
    given.map_or(Ok(()), |flag| Err(FlagError::Misplaced { flag, of }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn start(arguments: &[&str]) -> (Settings, SimFlags) {
        let Start { settings, sim } = Line::try_parse_from([&["start"], arguments].concat()).unwrap().start;
        let invocation = Invocation { flags: settings, ..Invocation::default() };
        (resolve(&invocation, &Files::default()).unwrap().0, sim)
    }

    #[test]
    fn no_flag_of_one_cloud_is_taken_for_the_other() {
        assert!(start(&["--vxnet", "vxnet-a"]).1.refuse().is_ok());
        assert!(refuse_qingcloud(&start(&["--provider", "sim"]).0).is_ok());
        for flag in [["--access-file", "a"], ["--zone", "pek3a"], ["--vxnet", "vxnet-a"]] {
            let error = refuse_qingcloud(&start(&flag).0).unwrap_err().to_string();
            assert!(error.starts_with(&flag.join(" ")) && error.contains("--provider qingcloud"), "{error}");
        }
        for flag in [["--sim-subnet", "s=10.0.0.0/24"], ["--sim-job-ms", "1"]] {
            let error = start(&flag).1.refuse().unwrap_err().to_string();
            assert!(error.starts_with(&flag.join(" ")) && error.contains("--provider sim"), "{error}");
        }
    }

    #[test]
    fn a_cloud_without_vxnets_is_refused() {
        assert!(matches!(vxnets(&start(&[]).0), Err(FlagError::NoVxnet)));
        assert_eq!(vxnets(&start(&["--vxnet", "vxnet-a"]).0).unwrap().len(), 1);
    }
}
