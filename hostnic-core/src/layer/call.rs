//! One call of a provider, as the layers see it.

use std::fmt::{self, Display};

use crate::cloud::{Instance, NicFilter, Submitted, Survey};
use crate::id::{JobId, NicId, SubnetId};
use crate::provider::CreateNics;

/// The operations of a [`NicProvider`](crate::NicProvider) that go to the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`instance`](crate::NicProvider::instance).
    Instance,
    /// [`subnets`](crate::NicProvider::subnets).
    Subnets,
    /// [`survey`](crate::NicProvider::survey).
    Survey,
    /// [`create_nics`](crate::NicProvider::create_nics).
    CreateNics,
    /// [`attach_nics`](crate::NicProvider::attach_nics).
    AttachNics,
    /// [`detach_nics`](crate::NicProvider::detach_nics).
    DetachNics,
    /// [`delete_nics`](crate::NicProvider::delete_nics).
    DeleteNics,
    /// [`list_nics`](crate::NicProvider::list_nics).
    ListNics,
    /// [`jobs`](crate::NicProvider::jobs).
    Jobs,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Instance,
        Self::Subnets,
        Self::Survey,
        Self::CreateNics,
        Self::AttachNics,
        Self::DetachNics,
        Self::DeleteNics,
        Self::ListNics,
        Self::Jobs,
    ];

    /// The name as metrics and logs have it: the method's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Subnets => "subnets",
            Self::Survey => "survey",
            Self::CreateNics => "create_nics",
            Self::AttachNics => "attach_nics",
            Self::DetachNics => "detach_nics",
            Self::DeleteNics => "delete_nics",
            Self::ListNics => "list_nics",
            Self::Jobs => "jobs",
        }
    }

    /// What is done, as an error tells it.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Instance => "describe the instance",
            Self::Subnets => "describe subnets",
            Self::Survey => "describe this node and its subnets",
            Self::CreateNics => "create NICs",
            Self::AttachNics => "attach NICs",
            Self::DetachNics => "detach NICs",
            Self::DeleteNics => "delete NICs",
            Self::ListNics => "list NICs",
            Self::Jobs => "ask about jobs",
        }
    }

    /// Whether the cloud may be different afterwards.
    pub fn is_write(self) -> bool {
        matches!(self, Self::CreateNics | Self::AttachNics | Self::DetachNics | Self::DeleteNics)
    }
}

/// One call and what it is about. Displays its subject: ids and names, which are never secret.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// Describe the instance.
    Instance,
    /// Describe these subnets.
    Subnets(&'a [SubnetId]),
    /// Describe the instance, its NICs and these subnets.
    Survey(&'a [SubnetId]),
    /// Create NICs.
    Create(&'a CreateNics),
    /// Attach these NICs.
    Attach(&'a [NicId]),
    /// Detach these NICs.
    Detach(&'a [NicId]),
    /// Delete these NICs.
    Delete(&'a [NicId]),
    /// List NICs.
    List(&'a NicFilter),
    /// Ask about these jobs.
    Jobs(&'a [JobId]),
}

impl Call<'_> {
    /// Which operation it is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Instance => Operation::Instance,
            Self::Subnets(_) => Operation::Subnets,
            Self::Survey(_) => Operation::Survey,
            Self::Create(_) => Operation::CreateNics,
            Self::Attach(_) => Operation::AttachNics,
            Self::Detach(_) => Operation::DetachNics,
            Self::Delete(_) => Operation::DeleteNics,
            Self::List(_) => Operation::ListNics,
            Self::Jobs(_) => Operation::Jobs,
        }
    }

    /// How many things it asks for; 0 where nobody can know beforehand.
    pub fn items(&self) -> usize {
        match self {
            Self::Instance => 1,
            Self::Subnets(ids) | Self::Survey(ids) => ids.len(),
            Self::Create(request) => request.count as usize,
            Self::Attach(nics) | Self::Detach(nics) | Self::Delete(nics) => nics.len(),
            Self::List(filter) => filter.ids.as_ref().map_or(0, Vec::len),
            Self::Jobs(jobs) => jobs.len(),
        }
    }
}

impl Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance => f.write_str("of this node"),
            Self::Subnets(ids) | Self::Survey(ids) => few(f, ids),
            Self::Create(request) => write!(f, "{} × {} in {}", request.count, request.name, request.subnet),
            Self::Attach(nics) | Self::Detach(nics) | Self::Delete(nics) => few(f, nics),
            Self::List(filter) => conditions(f, filter),
            Self::Jobs(jobs) => few(f, jobs),
        }
    }
}

/// The first of them, and how many more there are: a batch of a hundred fits in a line of a log.
fn few(f: &mut fmt::Formatter<'_>, items: &[impl Display]) -> fmt::Result {
    const SHOWN: usize = 3;
    for (position, item) in items.iter().take(SHOWN).enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    match items.len().saturating_sub(SHOWN) {
        0 if items.is_empty() => f.write_str("(none)"),
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

fn conditions(f: &mut fmt::Formatter<'_>, filter: &NicFilter) -> fmt::Result {
    if *filter == NicFilter::default() {
        return f.write_str("of the account");
    }
    let mut gap = "";
    let mut next = |f: &mut fmt::Formatter<'_>, word: &str| {
        let result = write!(f, "{gap}{word}");
        gap = " ";
        result
    };
    if let Some(ids) = &filter.ids {
        next(f, "")?;
        few(f, ids)?;
    }
    if let Some(name) = &filter.name {
        next(f, "named ")?;
        write!(f, "{name}")?;
    }
    if let Some(instance) = &filter.instance {
        next(f, "attached to ")?;
        write!(f, "{instance}")?;
    }
    if let Some(subnets) = &filter.subnets {
        next(f, "in ")?;
        few(f, subnets)?;
    }
    if filter.available {
        next(f, "attached nowhere")?;
    }
    Ok(())
}

/// What a call answers, where a layer wants to know how much that was.
pub trait Answer: Send {
    /// How many things are in it.
    fn items(&self) -> usize;
}

impl Answer for () {
    fn items(&self) -> usize {
        0
    }
}

impl Answer for Instance {
    fn items(&self) -> usize {
        1
    }
}

impl Answer for Survey {
    fn items(&self) -> usize {
        self.subnets.len()
    }
}

impl Answer for Submitted {
    fn items(&self) -> usize {
        1
    }
}

impl<T: Send> Answer for Vec<T> {
    fn items(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<NicId> {
        (0..count).map(|n| NicId::new(format!("nic-{n}")).unwrap()).collect()
    }

    #[test]
    fn a_large_batch_is_told_in_a_few_words() {
        assert_eq!(Call::Attach(&ids(0)).to_string(), "(none)");
        assert_eq!(Call::Attach(&ids(3)).to_string(), "nic-0, nic-1, nic-2");
        assert_eq!(Call::Delete(&ids(100)).to_string(), "nic-0, nic-1, nic-2 and 97 more");
    }

    #[test]
    fn a_list_is_told_by_its_conditions() {
        assert_eq!(Call::List(&NicFilter::default()).to_string(), "of the account");
        let filter = NicFilter {
            subnets: Some(vec![SubnetId::new("vxnet-a").unwrap()]),
            available: true,
            ..NicFilter::default()
        };
        assert_eq!(Call::List(&filter).to_string(), "in vxnet-a attached nowhere");
    }
}
