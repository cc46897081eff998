//! How long the kernel's part of ADD and DEL takes. Run it alone for numbers that mean something:
//! `cargo test --release -p hostnic-netlink --test programmer -- --ignored --nocapture time_of`.

use std::time::Duration;

use hostnic_core::RouteProgrammer;
use libtest_mimic::Trial;
use tokio::time::Instant;

use crate::trial;
use crate::world::World;

const ROUNDS: usize = 30;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("time_of_setup_and_teardown", measure).with_ignored_flag(true)]
}

async fn measure() {
    let (_world, _pod, plan, programmer) = World::with_a_pod().await;
    let (mut setups, mut teardowns) = (Vec::new(), Vec::new());
    let (mut silences, mut ways_back) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        programmer.setup_pod(&plan).await.unwrap();
        setups.push(start.elapsed());
        let start = Instant::now();
        programmer.teardown_pod(&plan).await.unwrap();
        teardowns.push(start.elapsed());
        programmer.setup_pod(&plan).await.unwrap();
        let start = Instant::now();
        let mut silenced = programmer.silence_pod(&plan).await.unwrap().unwrap();
        silences.push(start.elapsed());
        let start = Instant::now();
        silenced.give_back().await.unwrap();
        ways_back.push(start.elapsed());
    }
    eprintln!("set up:    {}", spread(setups));
    eprintln!("take down: {}", spread(teardowns));
    eprintln!("silence:   {}", spread(silences));
    eprintln!("way back:  {}", spread(ways_back));
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("median {:?}, fastest {:?}, slowest {:?}", times[ROUNDS / 2], times[0], times[ROUNDS - 1])
}
