//! The admin API does what its table says.

use serde_json::{Value, json};

use crate::client::{exchange, text};
use crate::start;

async fn ask(simulator: &hostnic_qingcloud::simulator::Simulator, line: &str, body: &str) -> (u16, Value) {
    let address = simulator.admin_url().strip_prefix("http://").unwrap().parse().unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(address, &request).await.unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn calls_are_told_and_counted() {
    let (simulator, client) = start().await;
    client.ok("DescribeNics", "nics.1=x").await;
    client.refused("DescribeJobs", "jobs.1=x").await;
    let (_, told) = ask(&simulator, "GET /history?action=DescribeNics", "").await;
    assert_eq!(text(&told, "/calls/0/parameters/nics.1"), "x");
    assert_eq!(told["calls"][0]["outcome"], json!({ "ret-code": 0 }));
    assert_eq!(told["calls"][0]["parameters"]["signature"], Value::Null);
    let (_, counts) = ask(&simulator, "GET /counts", "").await;
    assert_eq!(counts, json!({ "counts": { "DescribeJobs": 1, "DescribeNics": 1 } }));
    ask(&simulator, "DELETE /history", "").await;
    assert_eq!(ask(&simulator, "GET /counts", "").await.1, json!({ "counts": {} }));
}

#[tokio::test]
async fn nics_are_listed_and_nothing_is_policed_without_links() {
    let (simulator, client) = start().await;
    let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&nic_name=mine").await;
    let id = text(&made, "/nics/0/nic_id");
    let (_, told) = ask(&simulator, "GET /nics", "").await;
    let nics = told["nics"].as_array().unwrap();
    assert_eq!(nics.len(), 3, "{told}");
    let mine = nics.iter().find(|nic| nic["id"] == id).unwrap();
    assert_eq!((&mine["name"], &mine["attachment"]), (&json!("mine"), &json!("Available")));
    assert_eq!(ask(&simulator, "GET /police", "").await.1, json!({ "dropped": [] }));
}

#[tokio::test]
async fn faults_time_keys_and_the_listener_are_set() {
    let (simulator, client) = start().await;
    let rule = json!({ "action": "DescribeNics", "when": { "next": 2 }, "fault": { "ret-code": 5100 } });
    assert_eq!(ask(&simulator, "POST /faults", &rule.to_string()).await.0, 200);
    assert_eq!(client.refused("DescribeNics", "").await.0, 5100);
    assert_eq!(ask(&simulator, "GET /faults", "").await.1, json!({ "faults": [rule] }));
    ask(&simulator, "DELETE /faults", "").await;
    let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa").await;
    let nic = text(&made, "/nics/0/nic_id").to_owned();
    client.ok("AttachNics", &format!("nics.1={nic}&instance=i-node1")).await;
    ask(&simulator, "POST /time", r#"{"advance_ms":3600000}"#).await;
    let listed = client.ok("DescribeNics", &format!("nics.1={nic}")).await;
    assert_eq!(text(&listed, "/nic_set/0/status"), "in-use");
    let forwards = json!({ "nic": nic, "forwards": true }).to_string();
    assert_eq!(ask(&simulator, "POST /nics/forwarding", &forwards).await.0, 200);
    let kept = ask(&simulator, "GET /state", "").await.1;
    assert_eq!(kept["cloud"]["nics"][&nic]["forwards"], true);
    assert_eq!(ask(&simulator, "POST /nics/vanish", &json!({ "nic": nic }).to_string()).await.0, 200);
    assert_eq!(client.ok("DescribeNics", &format!("nics.1={nic}")).await["total_count"], 0);
    ask(&simulator, "POST /access-keys", r#"{"access_key_id":"AK","status":"inactive"}"#).await;
    assert_eq!(client.refused("DescribeNics", "").await.0, 1200);
    ask(&simulator, "POST /listening", r#"{"listening":false}"#).await;
    assert!(client.send("DescribeNics", "").await.is_err());
    ask(&simulator, "POST /listening", r#"{"listening":true}"#).await;
    client.refused("DescribeNics", "").await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_changes_nothing() {
    let (simulator, client) = start().await;
    for (line, body, status) in [
        ("POST /faults", "{}", 400),
        ("POST /faults", r#"{"action":"Nope","when":"always","fault":"cut-body"}"#, 400),
        ("POST /access-keys", r#"{"access_key_id":"NONE","status":"inactive"}"#, 404),
        ("POST /nics/forwarding", r#"{"nic":"52:54:00:00:00:00","forwards":true}"#, 404),
        ("POST /time", "soon", 400),
        ("GET /nothing", "", 404),
        ("GET /latest/meta-data/security-credentials", "", 404),
    ] {
        let (got, body) = ask(&simulator, line, body).await;
        assert_eq!(got, status, "{line}: {body}");
        assert!(body["error"].is_string());
    }
    client.ok("DescribeNics", "").await;
}
