//! The API's actions, and what distinguishes them for whoever meets an error.

use std::fmt;

macro_rules! actions {
    ($($kind:ident: $($name:ident),+;)*) => {
        /// An action of the API, named as on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names are the API's own, and documented there")]
        pub enum Action {
            $($($name),+),*
        }

        impl Action {
            /// The value of the parameter `action`.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$name => stringify!($name)),+),*
                }
            }

            pub(crate) fn nature(self) -> Nature {
                match self {
                    $($(Self::$name => Nature::$kind),+),*
                }
            }
        }
    };
}

actions! {
    Read: DescribeNics, DescribeVxnets, DescribeInstances, DescribeJobs, DescribeVips, DescribeTags,
        DescribeSecurityGroups, DescribeSecurityGroupRules, DescribeClusters, DescribeClusterNodes,
        DescribeAccessKeys, DescribeRouters;
    Create: CreateNics, AllocateVips, CreateTag, AddSecurityGroupRules;
    Plug: AttachNics;
    Change: DetachNics, ModifyNicAttributes, AttachTags, ApplySecurityGroup, DeleteSecurityGroupRules;
    Remove: DeleteNics, ReleaseVips;
}

/// What an action does to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Nothing.
    Read,
    /// Makes something that counts towards a quota.
    Create,
    /// Puts something where only so many have room.
    Plug,
    /// Changes what is there.
    Change,
    /// Takes something away.
    Remove,
}

impl Action {
    /// Whether the cloud may be different afterwards.
    pub fn is_write(self) -> bool {
        self.nature() != Nature::Read
    }

    /// Whether it can be refused for a limit on the number of things.
    pub(crate) fn meets_quotas(self) -> bool {
        matches!(self.nature(), Nature::Create | Nature::Plug)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
