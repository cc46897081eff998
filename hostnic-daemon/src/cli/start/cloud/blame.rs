//! A layer that says which file or flag is to be corrected when the cloud refuses this node.

use std::path::PathBuf;

use hostnic_core::layer::{Answer, Around, Call};
use hostnic_core::{Effect, Error, ErrorKind, Result};

/// What a person wrote that a refusal may be about. Nothing of it is secret.
#[derive(Debug)]
pub(super) struct Blame {
    pub(super) file: PathBuf,
    pub(super) endpoint: String,
    pub(super) zone: String,
    /// The access key's id; `None` with the credentials of the instance's role.
    pub(super) key: Option<String>,
}

impl Blame {
    /// What was refused, or what to correct; `None` where that is not in what was written.
    fn remedy(&self, call: Call<'_>, kind: ErrorKind) -> Option<String> {
        let Self { file, endpoint, zone, key } = self;
        let file = file.display();
        match (kind, call) {
            (ErrorKind::Unauthorised, _) => Some(match key {
                Some(key) => format!("{endpoint} refuses the access key {key} of {file}"),
                None => format!(
                    "{endpoint} refuses the role of this instance, which is used as {file} has no access key"
                ),
            }),
            (ErrorKind::Invalid, Call::Instance | Call::Subnets(_) | Call::Survey(_)) => Some(format!(
                "{endpoint} does not understand what {file} and the flags say; correct --zone {zone}, --vxnet, or the \
                 file's host, port and uri"
            )),
            // Unknown vxnets are no error, so that this is about the instance.
            (ErrorKind::NotFound, Call::Instance | Call::Survey(_)) => Some(format!(
                "zone {zone} has no such instance for the access key of {file}; correct --instance, --zone or the file"
            )),
            _ => None,
        }
    }

    fn unknown_vxnets(&self) -> String {
        let Self { file, zone, .. } = self;
        let file = file.display();
        format!(
            "zone {zone} has no such vxnet for the access key of {file}; correct --vxnet, --zone or the file"
        )
    }
}

impl Around for Blame {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        match work.await {
            Ok(answer) => {
                // Vxnets that the cloud does not know are left out of its answer.
                if let Call::Subnets(asked) | Call::Survey(asked) = call
                    && answer.items() < asked.len()
                {
                    tracing::error!(vxnets = %call, "{}", self.unknown_vxnets());
                }
                Ok(answer)
            }
            Err(error) => Err(match self.remedy(call, error.kind()) {
                Some(remedy) => explained(call, error, &remedy),
                None => error,
            }),
        }
    }
}

fn explained(call: Call<'_>, error: Error, remedy: &str) -> Error {
    let explained = Error::new(error.kind(), call.operation().phrase(), call).detail(remedy);
    match error.effect() {
        Effect::None => explained.source(error),
        Effect::Unknown => explained.effect_unknown().source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blame(key: Option<&str>) -> Blame {
        let [endpoint, zone] = ["http://127.0.0.1:1/iaas", "sim1"].map(str::to_owned);
        Blame { file: "/etc/client.yaml".into(), endpoint, zone, key: key.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_refusal_names_the_file_and_keeps_kind_effect_and_cause() {
        for key in [Some("AK"), None] {
            let cause = Error::new(ErrorKind::Unauthorised, "attach NICs", "nic-1").effect_unknown();
            let error =
                blame(key).around(Call::Attach(&[]), async { Err::<(), _>(cause) }).await.unwrap_err();
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unauthorised, Effect::Unknown));
            let text = error.chain().to_string();
            assert!(text.contains("/etc/client.yaml") && text.contains("attach NICs nic-1"), "{text}");
            assert_eq!(text.contains("access key AK"), key.is_some(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_no_file_can_mend_is_passed_on_as_it_is() {
        let cause = || Error::new(ErrorKind::Transient, "list NICs", "of the account");
        let error = blame(None).around(Call::Instance, async { Err::<(), _>(cause()) }).await.unwrap_err();
        assert_eq!(error.chain().to_string(), cause().chain().to_string());
    }
}
