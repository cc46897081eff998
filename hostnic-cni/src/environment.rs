//! What the runtime says in environment variables.

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Compare an attachment with what was answered.
    Check,
    /// Free what no living container holds.
    Gc,
    /// Say whether an ADD would be served.
    Status,
    /// Say which versions are spoken.
    Version,
}
