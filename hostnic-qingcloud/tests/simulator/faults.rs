//! What goes wrong does so in the way that was asked for.

use std::io::ErrorKind;
use std::time::Duration;

use hostnic_qingcloud::simulator::{Call, Outcome, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, text};
use crate::{config, finish, start, start_with};

const CREATE: &str = "vxnet=vxnet-aaaaaaa";

fn inject(simulator: &Simulator, rule: &str) {
    simulator.inject(rule.parse().unwrap()).unwrap();
}

fn nics(simulator: &Simulator) -> usize {
    // Besides the two primary ones.
    simulator.cloud().snapshot().len() - 2
}

fn last(simulator: &Simulator) -> Call {
    simulator.history().pop().unwrap()
}

#[tokio::test]
async fn connections_break_before_or_after_the_effect() {
    let (simulator, client) = start().await;
    for (rule, error, made, outcome) in [
        ("CreateNics:nth=1:reset-before", ErrorKind::ConnectionReset, 0, Outcome::Reset),
        ("CreateNics:nth=1:reset-after", ErrorKind::ConnectionReset, 1, Outcome::Reset),
        ("CreateNics:nth=1:cut-body", ErrorKind::UnexpectedEof, 2, Outcome::Cut),
    ] {
        inject(&simulator, rule);
        assert_eq!(client.send("CreateNics", CREATE).await.unwrap_err().kind(), error, "{rule}");
        assert_eq!(nics(&simulator), made, "{rule}");
        assert_eq!(last(&simulator).outcome, outcome);
    }
    client.ok("CreateNics", CREATE).await;
    assert_eq!(simulator.counts()["CreateNics"], 4);
}

#[tokio::test]
async fn nobody_listens_for_a_while() {
    let (simulator, client) = start().await;
    simulator.set_listening(false).await.unwrap();
    let refused = client.send("DescribeNics", "").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    simulator.set_listening(true).await.unwrap();
    client.ok("DescribeNics", "").await;
}

#[tokio::test]
async fn nobody_listens_for_a_while_at_any_of_several_addresses() {
    let mut config = config();
    config.also_listen.push([127, 0, 0, 2].into());
    let simulator = Simulator::start(config).await.unwrap();
    let port = simulator.address().port();
    let reached = || async {
        let addresses = [[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| (std::net::Ipv4Addr::from(ip), port));
        let [one, two] = addresses.map(tokio::net::TcpStream::connect);
        (one.await.is_ok(), two.await.is_ok())
    };
    assert_eq!(reached().await, (true, true));
    simulator.set_listening(false).await.unwrap();
    assert_eq!(reached().await, (false, false));
    simulator.set_listening(true).await.unwrap();
    assert_eq!(reached().await, (true, true));
}

#[tokio::test]
async fn from_a_call_on_nobody_listens_until_the_time_is_over() {
    let (simulator, client) = start().await;
    inject(&simulator, "CreateNics:nth=1:refuse=1h");
    assert!(client.send("CreateNics", CREATE).await.is_err());
    assert_eq!((nics(&simulator), last(&simulator).outcome), (0, Outcome::Reset));
    let refused = client.send("CreateNics", CREATE).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    simulator.set_listening(true).await.unwrap();
    client.ok("CreateNics", CREATE).await;
}

#[tokio::test(start_paused = true)]
async fn connections_in_the_process_are_refused_as_long_and_in_paused_time() {
    let (simulator, _) = start().await;
    inject(&simulator, "DescribeNics:nth=1:refuse=10s");
    let mut stream = simulator.connect().await.unwrap();
    stream.write_all(b"GET /iaas?action=DescribeNics HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    let refused = simulator.connect().await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    tokio::time::sleep(Duration::from_secs(11)).await;
    simulator.connect().await.unwrap();
}

#[tokio::test]
async fn a_page_of_html_comes_instead_of_an_answer() {
    let (simulator, client) = start().await;
    inject(&simulator, "*:next=2:http=502");
    for action in ["CreateNics", "DescribeNics"] {
        let answer = client.send(action, "").await.unwrap();
        assert_eq!((answer.status, answer.content_type.as_str()), (502, "text/html"));
        assert!(answer.body.contains("502 Bad Gateway"));
    }
    client.ok("DescribeNics", "").await;
    assert_eq!(nics(&simulator), 0);
}

#[tokio::test]
async fn any_code_is_answered_without_effect() {
    let (simulator, client) = start().await;
    for code in [1100, 1300, 1400, 2100, 2400, 2500, 5000, 5100, 5200, 5300] {
        inject(&simulator, &format!("CreateNics:nth=1:ret-code={code}"));
        assert_eq!(client.refused("CreateNics", CREATE).await.0, code);
    }
    assert_eq!(nics(&simulator), 0);
}

#[tokio::test]
async fn a_slow_answer_comes_late_with_its_effect_done_before() {
    let (simulator, client) = start().await;
    inject(&simulator, "CreateNics:nth=1:slow=1h");
    let late = client.send("CreateNics", CREATE);
    assert!(tokio::time::timeout(Duration::from_millis(300), late).await.is_err());
    assert_eq!(nics(&simulator), 1);
}

#[tokio::test]
async fn a_stale_list_shows_what_was_some_time_ago() {
    let (simulator, client) = start().await;
    client.ok("CreateNics", CREATE).await;
    inject(&simulator, "DescribeNics:nth=1:stale-read");
    let count = async || client.ok("DescribeNics", "vxnets.1=vxnet-aaaaaaa").await["total_count"].clone();
    assert_eq!((count().await, count().await), (0.into(), 1.into()));
    simulator.advance(Duration::from_secs(5));
    inject(&simulator, "DescribeNics:nth=1:stale-read");
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn jobs_stick_fail_and_fail_in_part() {
    let (simulator, client) = start().await;
    let run = async |rule: &str| {
        let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&count=2").await;
        let [a, b] = [0, 1].map(|n| text(&made, &format!("/nics/{n}/nic_id")).to_owned());
        inject(&simulator, rule);
        let begun = client.ok("AttachNics", &format!("nics.1={a}&nics.2={b}&instance=i-node1")).await;
        finish(&simulator);
        let job = text(&begun, "/job_id").to_owned();
        let attached = client.ok("DescribeNics", &format!("nics.1={a}&nics.2={b}&status=in-use")).await;
        (status(&client, &job).await, attached["total_count"].as_u64().unwrap(), job)
    };
    let (failed, attached, _) = run("AttachNics:nth=1:job-failed").await;
    assert_eq!((failed.as_str(), attached), ("failed", 0));
    let (partly, attached, _) = run("AttachNics:nth=1:job-partly-failed=1").await;
    assert_eq!((partly.as_str(), attached), ("done with failure", 1));
    let (stuck, attached, job) = run("AttachNics:nth=1:job-stuck").await;
    assert_eq!((stuck.as_str(), attached), ("working", 0));
    simulator.unstick_jobs();
    assert_eq!(status(&client, &job).await, "successful");
}

async fn status(client: &Client, job: &str) -> String {
    let jobs = client.ok("DescribeJobs", &format!("jobs.1={job}")).await;
    text(&jobs, "/job_set/0/status").to_owned()
}

#[tokio::test]
async fn a_nic_goes_behind_our_back() {
    let (simulator, client) = start().await;
    client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&count=3").await;
    inject(&simulator, "DescribeNics:nth=2:nic-gone");
    for expected in [3, 3, 2] {
        let listed = client.ok("DescribeNics", "vxnets.1=vxnet-aaaaaaa").await;
        assert_eq!(listed["total_count"], expected);
    }
}

#[tokio::test]
async fn credentials_are_revoked_and_restored() {
    let (simulator, client) = start().await;
    assert!(simulator.revoke("AK"));
    assert_eq!(client.refused("DescribeNics", "").await.0, 1200);
    assert!(simulator.restore("AK"));
    client.ok("DescribeNics", "").await;
    assert!(!simulator.revoke("OTHER"));
}

#[tokio::test]
async fn credentials_are_revoked_by_a_call() {
    let (simulator, client) = start().await;
    inject(&simulator, "CreateNics:nth=2:revoke-key");
    client.ok("CreateNics", CREATE).await;
    assert_eq!(simulator.faults().len(), 1);
    assert_eq!(client.refused("CreateNics", CREATE).await.0, 1200);
    assert_eq!(client.refused("DescribeNics", "").await.0, 1200);
    assert_eq!(simulator.faults(), []);
    assert!(simulator.restore("AK"));
    client.ok("CreateNics", CREATE).await;
    assert_eq!(nics(&simulator), 2);
}

#[tokio::test]
async fn too_many_calls_are_refused_until_the_window_has_passed() {
    let mut config = config();
    config.rate_limit = Some((2, Duration::from_secs(3600)));
    let (simulator, client) = start_with(config).await;
    client.ok("DescribeNics", "").await;
    client.ok("DescribeNics", "").await;
    assert_eq!(client.refused("DescribeNics", "").await.0, 2500);
    finish(&simulator);
    client.ok("DescribeNics", "").await;
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_calls() {
    let mut struck = Vec::new();
    for _ in 0..2 {
        let (simulator, client) = start().await;
        inject(&simulator, "DescribeVips:chance=0.5:ret-code=5100");
        let mut codes = Vec::new();
        for _ in 0..20 {
            let body = client.send("DescribeVips", "").await.unwrap().body;
            codes.push(body.contains("5100"));
        }
        struck.push(codes);
    }
    assert_eq!(struck[0], struck[1]);
    assert!(struck[0].contains(&true) && struck[0].contains(&false));
}

#[tokio::test]
async fn a_rule_that_can_meet_nothing_is_refused() {
    let (simulator, _) = start().await;
    for rule in ["DescribeNic:always:cut-body", "DescribeJobs:always:stale-read"] {
        assert!(simulator.inject(rule.parse().unwrap()).is_err(), "{rule}");
    }
}
