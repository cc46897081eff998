//! A pool by its size or by its two marks.

use super::*;

fn marks(said: &Said) -> (u32, u32) {
    let settings = said.settings();
    (settings.pool_low.value, settings.pool_high.value)
}

#[test]
fn what_is_given_draws_along_what_is_not() {
    let cases = [
        ("", (3, 5)),
        ("--pool-low 10", (10, 12)),
        ("--pool-low 0", (0, 2)),
        ("--pool-high 9", (3, 9)),
        ("--pool-high 1", (1, 1)),
        ("--pool-low 2 --pool-high 2", (2, 2)),
        ("--pool-size 8", (8, 10)),
        ("--pool-size 0", (0, 2)),
        ("--PoolSize 3", (3, 5)),
    ];
    for (flags, want) in cases {
        assert_eq!(marks(&line(&format!("daemon start {flags}"))), want, "{flags}");
    }
}

#[test]
fn a_later_source_wins_whichever_way_it_says_it() {
    let file = |text: &str| line("daemon start").file("/root/.daemon.yaml", text);
    let size_over_marks = file("pool-low: 1\npool-high: 9\n").variable("POOLSIZE", "4");
    assert_eq!(marks(&size_over_marks), (4, 6));
    let mark_over_size = file("PoolSize: 4\n").variable("HOSTNIC_POOL_HIGH", "20");
    assert_eq!(marks(&mark_over_size), (4, 20));
    assert_eq!(size_over_marks.shown("pool-high").1, "environment: POOLSIZE");
}

#[test]
fn contradictions_are_refused() {
    let both = line("daemon start --PoolSize 3 --pool-low 2").errors();
    assert!(both[0].contains("--PoolSize and flag: --pool-low"), "{both:?}");
    let crossed = line("daemon start --pool-low 7").variable("HOSTNIC_POOL_HIGH", "6").errors();
    let want = "--pool-low 7 is more than HOSTNIC_POOL_HIGH=6; lower the one or raise the other";
    assert_eq!(crossed, [want]);
    for wrong in ["three", "-1", "1001", "3.5"] {
        assert!(!line(&format!("daemon start --PoolSize={wrong}")).errors().is_empty(), "{wrong}");
    }
}

#[test]
fn a_pool_that_can_never_be_full_is_told() {
    let said = line("hostnic-daemon start --pool-low 10 --max-nics 5");
    assert_eq!(
        said.notices(),
        ["flag: --pool-low: 10 free NICs are wanted, and 5 NICs are the most that there may be"]
    );
}

#[test]
fn a_subnet_that_is_listed_twice_counts_once() {
    let said = line("hostnic-daemon start --vxnet vxnet-a,vxnet-b,vxnet-a");
    assert_eq!(said.shown("vxnet").0, "vxnet-a,vxnet-b");
    assert_eq!(said.notices(), ["flag: --vxnet: vxnet-a is listed more than once; once counts"]);
}
