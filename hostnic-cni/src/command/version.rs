//! VERSION: what is spoken here.

use serde::Serialize;

use crate::error::{CniError, Code};
use crate::version::Version;

/// Answers in the version that was asked in.
pub(crate) fn versions(version: Version) -> Result<String, CniError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        cni_version: Version,
        supported_versions: [Version; Version::ALL.len()],
    }
    let answer = Answer { cni_version: version, supported_versions: Version::ALL };
    serde_json::to_string_pretty(&answer)
        .map_err(|error| CniError::new(Code::Internal, "write the versions").details(error))
}
