//! What ADDs must be told, for each fault and action. From the traits' contracts, not from what was seen:
//!
//! - A fault that passes within the patience of an ADD is none for its pod: `ok`.
//! - Where the cloud refuses to make NICs at all there is no use in waiting, so ADDs are told at once: `u`nauthorised,
//!   or a `q`uota of the `a`ccount or `i`nstance. What one vxnet refuses another may give; `qs` when none does.
//! - What lasts is told when the patience is over: `t`ransient or th`r`ottled where the cloud said so, `e`xhausted where
//!   it said what a pod's owner cannot act on.
//! - Until the node has been compared with the cloud nobody knows whose the NICs are: `t`.
//! - No pod waits for the way out, nor for jobs, as a link is the proof that a NIC is in: `ok`.

/// Every action that the burst makes.
pub(crate) const ACTIONS: [&str; 7] = [
    "DescribeVxnets",
    "DescribeNics",
    "CreateNics",
    "AttachNics",
    "DescribeJobs",
    "DetachNics",
    "DeleteNics",
];

/// A fault, as the simulator reads it (`unreachable`: the call alone gets no connection); then for each column what
/// comes of it when it meets the first call, the last one of a burst without faults, and all calls until long after
/// the burst. One word stands for all three. A word with `?` allows for `ok` as well: chance says which NIC is gone,
/// and whether another create was under way. `-` is no fault of such an action.
///
/// `remove` is DetachNics and DeleteNics. Of 1500 to 1662, which mean the same, there are the first and the last; 9999 is
/// no code of the API's.
const TABLE: &str = "
fault                DescribeVxnets  DescribeNics  CreateNics  AttachNics  DescribeJobs  remove
unreachable          ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
refuse=10s           ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
reset-before         ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
reset-after          ok/ok/t         ok/ok/t       ok          ok          ok            ok
cut-body             ok/ok/t         ok/ok/t       ok          ok          ok            ok
http=500             ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
http=502             ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
http=503             ok/ok/t         ok/ok/t       ok/ok/r     ok/ok/r     ok            ok
http=504             ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
slow=5s              ok              ok            ok          ok          ok            ok
slow=60s             ok/ok/t         ok/ok/t       ok          ok          ok            ok
stale-read           -               ok            -           -           -             -
job-stuck            -               -             -           ok/ok/e     -             ok
job-failed           -               -             -           ok/ok/t     -             ok
job-partly-failed=5  -               -             -           ok/ok/t     -             ok
nic-gone             ok              ok            ok          ok          t?/ok/ok      ok
revoke-key           ok/ok/t         ok/ok/t       u           u           u/ok/u        ok
ret-code=1100        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=1101        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=1200        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=1300        ok/ok/t         ok/ok/t       ok/ok/u     ok/ok/u     ok            ok
ret-code=1400        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/e     ok            ok
ret-code=1500        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=1662        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=2000        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=2100        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=2110        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=2200        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=2300        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=2400        ok/ok/t         ok/ok/t       qa?/qa/qa   ok/ok/qa    ok            ok
ret-code=2500        ok/ok/t         ok/ok/t       qa?/qa/qa   qi/ok/qi    ok            ok
ret-code=3300        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=4000        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=4001        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=4002        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=4003        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=4004        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=4005        ok/ok/t         ok/ok/t       u?/u/u      ok/ok/u     ok            ok
ret-code=5000        ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
ret-code=5100        ok/ok/t         ok/ok/t       ok/ok/r     ok/ok/r     ok            ok
ret-code=5200        ok/ok/t         ok/ok/t       ok/ok/qs    ok/ok/t     ok            ok
ret-code=5300        ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
ret-code=5400        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=5500        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=5600        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=8000        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=8001        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=8002        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=8003        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=8004        ok/ok/t         ok/ok/t       ok/ok/e     ok/ok/e     ok            ok
ret-code=9999        ok/ok/t         ok/ok/t       ok/ok/t     ok/ok/t     ok            ok
";

/// Which calls of an action a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// The first one.
    First,
    /// The last one of a burst without faults.
    Last,
    /// Every one, until long after the burst.
    Lasting,
}

impl Moment {
    pub(crate) const ALL: [(Self, &'static str); 3] =
        [(Self::First, "first"), (Self::Last, "last"), (Self::Lasting, "lasting")];
}

/// One fault at one action at one moment, and what ADDs must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Which row of the table.
    pub(crate) row: usize,
    pub(crate) fault: &'static str,
    pub(crate) action: &'static str,
    pub(crate) moment: Moment,
    pub(crate) expected: &'static str,
}

/// All cells of the table, row by row.
pub(crate) fn cells() -> Vec<Cell> {
    let rows = TABLE.lines().filter(|line| !line.is_empty()).skip(1).enumerate();
    rows.flat_map(|(row, line)| {
        let mut words = line.split_whitespace();
        let fault = words.next().unwrap();
        let columns: Vec<&str> = words.collect();
        let [vxnets, list, create, attach, jobs, out] = columns[..] else { panic!("six columns: {line}") };
        let entries = [vxnets, list, create, attach, jobs, out, out];
        ACTIONS.into_iter().zip(entries).filter(|(_, entry)| *entry != "-").flat_map(
            move |(action, entry)| {
                let each: Vec<&str> = entry.split('/').collect();
                assert!(matches!(each.len(), 1 | 3), "one word or three: {line}");
                Moment::ALL.into_iter().enumerate().map(move |(n, (moment, _))| Cell {
                    row,
                    fault,
                    action,
                    moment,
                    expected: each.get(n).unwrap_or(&each[0]),
                })
            },
        )
    })
    .collect()
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = Moment::ALL.into_iter().find(|(moment, _)| *moment == self.moment);
        write!(f, "{}::{}::{}", self.fault, self.action, moment.map_or("", |(_, name)| name))
    }
}
