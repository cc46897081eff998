//! One thing that is wrong.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Some pods will not get a NIC, or their packets are lost.
    Error,
    /// It works until something else happens.
    Warning,
}

/// One thing that is wrong: on what, why it matters, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a file, a setting, a vxnet, a link.
    pub object: String,
    /// What is wrong with it, and what comes of that.
    pub problem: String,
    /// What a person can do, as a command where there is one.
    pub remedy: String,
}

impl Finding {
    /// Something that keeps pods from working now.
    pub fn error(object: impl ToString, problem: impl ToString, remedy: impl ToString) -> Self {
        Self {
            severity: Severity::Error,
            object: object.to_string(),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
        }
    }

    /// Something that will.
    pub fn warning(object: impl ToString, problem: impl ToString, remedy: impl ToString) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, problem, remedy) }
    }
}
