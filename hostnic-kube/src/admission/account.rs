//! Who asks for a change.

use std::fmt;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;

/// The accounts of Kubernetes itself that remove what belongs to what was removed.
const OF_KUBERNETES: [&str; 5] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    // Its controllers without accounts of their own.
    "system:kube-controller-manager",
    "system:apiserver",
    "system:serviceaccount:kube-system:storage-version-migrator-controller",
];

/// The name of an account, such as `system:serviceaccount:kube-system:hostnic-controller`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidValue`] unless it is of letters, digits and `:._@-`: it is written into expressions that the API server evaluates.
    pub fn new(value: impl Into<String>) -> Result<Self, InvalidValue> {
        let value = value.into();
        let may_be = |letter: char| letter.is_ascii_alphanumeric() || ":._@-".contains(letter);
        if !value.is_empty() && value.chars().all(may_be) {
            Ok(Self(value))
        } else {
            Err(InvalidValue::new(
                "account",
                value,
                "as the API server names it: letters, digits and ':', '.', '_', '@', '-', such as \
                 system:serviceaccount:kube-system:hostnic-controller",
            ))
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountName {
    type Err = InvalidValue;
    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        Self::new(value)
    }
}

/// Whose changes are never refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The controller's own.
    pub own: AccountName,
    /// Those of the daemons on nodes, which write blocks and handles while a pod waits for its address.
    pub nodes: Vec<AccountName>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The controller itself.
    Own,
    /// The daemon of a node.
    Node,
    /// Kubernetes, which removes what belongs to what was removed.
    Kubernetes,
    /// Anybody else: a person, or a program that is not of hostnic.
    Other,
}

impl Accounts {
    pub(super) fn who(&self, user: &str) -> Who {
        if self.own.as_str() == user {
            Who::Own
        } else if self.nodes.iter().any(|node| node.as_str() == user) {
            Who::Node
        } else if OF_KUBERNETES.contains(&user) {
            Who::Kubernetes
        } else {
            Who::Other
        }
    }

    /// All accounts whose changes of blocks and handles are never refused.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().map(AccountName::as_str);
        std::iter::once(self.own.as_str()).chain(nodes).chain(OF_KUBERNETES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_an_expression_could_be_made_of() {
        assert!(AccountName::new("system:serviceaccount:kube-system:hostnic-controller").is_ok());
        assert!(AccountName::new("someone@example.org").is_ok());
        for bad in ["", "a'b", "a\"b", "a b", "a\\b", "a\n", "ä"] {
            assert!(AccountName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn everybody_is_told_apart() {
        let account = |name: &str| AccountName::new(name).unwrap();
        let accounts = Accounts { own: account("own"), nodes: vec![account("node")] };
        let who = ["own", "node", OF_KUBERNETES[0], "system:admin"].map(|name| accounts.who(name));
        assert_eq!(who, [Who::Own, Who::Node, Who::Kubernetes, Who::Other]);
        assert_eq!(accounts.trusted().count(), 2 + OF_KUBERNETES.len());
    }
}
