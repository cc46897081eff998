//! What becomes of the daemon's store while no daemon runs.

use std::fs;
use std::path::{Path, PathBuf};

use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::store::{Identity, Opened, RedbStore};

use crate::api::INSTANCE;

const PAGE: usize = 4096;

/// One kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Deleted,
    EverythingDeleted,
    Empty,
    HalfAsLong,
    Zeros,
    /// Every written page but the first so many.
    PagesOfZeros(usize),
    /// A bit in the middle of every written page but the first.
    Flipped,
    AnotherBoot,
}

impl Damage {
    /// One of each kind, or all where HOSTNIC_SCALE is 1.
    pub(crate) fn chosen() -> Vec<Self> {
        use Damage::*;
        let usual = [Deleted, AnotherBoot, Flipped, HalfAsLong];
        let others = [PagesOfZeros(3), PagesOfZeros(1), EverythingDeleted, Empty, Zeros];
        let rest = if scale() >= 1.0 { others.len() } else { 1 };
        usual.into_iter().chain(others.into_iter().take(rest)).collect()
    }

    /// Whether the file is kept aside and that is said.
    pub(crate) fn is_said(self) -> bool {
        !matches!(self, Self::Deleted | Self::EverythingDeleted | Self::AnotherBoot)
    }

    pub(crate) async fn apply(self, store: &Path) {
        let mut file = fs::read(store).unwrap();
        let written = |file: &[u8]| -> Vec<usize> {
            let pages = file.chunks(PAGE).enumerate();
            pages.filter(|(_, page)| page.iter().any(|b| *b != 0)).map(|(n, _)| n * PAGE).collect()
        };
        match self {
            Self::Deleted => return fs::remove_file(store).unwrap(),
            Self::EverythingDeleted => {
                fs::remove_file(store).unwrap();
                let mut count = store.as_os_str().to_owned();
                count.push(".lock");
                return fs::remove_file(PathBuf::from(count)).unwrap();
            }
            Self::AnotherBoot => return another_boot(store).await,
            Self::Empty => file.clear(),
            Self::HalfAsLong => file.truncate(file.len() / 2),
            Self::Zeros => file.fill(0),
            Self::PagesOfZeros(spared) => {
                for page in written(&file).into_iter().skip(spared) {
                    file[page..page + PAGE].fill(0);
                }
            }
            Self::Flipped => {
                for page in written(&file).into_iter().skip(1) {
                    file[page + PAGE / 2] ^= 0x10;
                }
            }
        }
        fs::write(store, file).unwrap();
    }
}

/// The file of this node as a boot before this one would have left it.
async fn another_boot(store: &Path) {
    let identity = Identity { boot: "another-boot".parse().unwrap(), host: INSTANCE.parse().unwrap() };
    let (_, opened) = RedbStore::open(store, identity, SystemClock.now()).await.unwrap();
    assert_eq!(opened, Opened::AnotherBoot);
}

/// How much of the test is done.
fn scale() -> f64 {
    std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap())
}
