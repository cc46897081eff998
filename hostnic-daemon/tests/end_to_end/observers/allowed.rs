//! The list of what may differ.

/// Patterns of differences, in which `*` stands for anything.
#[derive(Debug)]
pub(super) struct Allowed(Vec<String>);

impl Allowed {
    /// The committed list. Each pattern, or group of them, has a reason under it.
    pub(super) fn read() -> Self {
        let lines: Vec<&str> = include_str!("allowed.txt").lines().collect();
        let mut patterns = Vec::new();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(['+', '-'])) {
            let reason = lines[number..].iter().find(|line| !line.starts_with(['+', '-']));
            assert!(
                reason.is_some_and(|r| r.starts_with("    ")),
                "allowed.txt: no reason is given for {line}"
            );
            patterns.push((*line).to_owned());
        }
        Self(patterns)
    }

    /// The differences that no pattern allows.
    pub(super) fn refused(&self, changes: &[String]) -> Vec<String> {
        let allowed = |change: &&String| self.0.iter().any(|pattern| matches(pattern, change));
        changes.iter().filter(|change| !allowed(change)).cloned().collect()
    }
}

/// Whether the parts of the pattern between its `*` are in the text, one after the other, from its first to its last letter.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }),
    }
}
