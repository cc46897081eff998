//! One call: signatures, time, deadlines, pages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostnic_core::cloud::NicFilter;
use hostnic_core::{Effect, ErrorKind, NicProvider};
use hostnic_qingcloud::{Action, RequestRecorder};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::script::{
    Reply, SECRET, Script, builder, config, id, nic, nics, no, no_at, ok, provider, provider_of, with_body,
};

fn all() -> NicFilter {
    NicFilter::default()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_to_connect_is_signed_afresh() {
    let (provider, script) = provider([Reply::NotSent, Reply::NotSent, nics(&[])]).await;
    provider.list_nics(&all()).await.unwrap();
    let asked = script.asked();
    let stamps: Vec<_> = asked.iter().map(|asked| asked.get("time_stamp")).collect();
    assert_eq!(stamps, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"]);
    assert!(asked[0].get("signature") != asked[1].get("signature"));
}

#[tokio::test(start_paused = true)]
async fn connecting_is_tried_as_often_as_configured_and_then_had_no_effect() {
    let script = Script::new([Reply::NotSent, Reply::NotSent]);
    let mut config = config();
    config.connection_retries = 1;
    let error = provider_of(config, &script).await.delete_nics(&[id(1)]).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Transient, Effect::None));
    assert_eq!(script.actions().len(), 2);
}

/// Notes the requests.
#[derive(Debug, Default)]
struct Noted(Mutex<Vec<&'static str>>);

impl RequestRecorder for Noted {
    fn sent(&self, action: Action) {
        self.0.lock().unwrap().push(action.name());
    }
}

#[tokio::test(start_paused = true)]
async fn what_reached_the_api_is_told_request_by_request_whatever_became_of_it() {
    let replies = [
        // One operation: a connection that was refused, and a request for its time.
        Reply::NotSent,
        no_at(1300, 90),
        nics(&[]),
        // One that begins with a look.
        nics(&[nic(1, "i-1", 0)]),
        Reply::Lost,
        Reply::Silence,
    ];
    let (script, noted) = (Script::new(replies), Arc::new(Noted::default()));
    let provider = builder(config(), &script).recorder(noted.clone()).connect().await.unwrap();
    provider.list_nics(&all()).await.unwrap();
    provider.detach_nics(&[id(1)]).await.unwrap_err();
    provider.delete_nics(&[id(1)]).await.unwrap_err();
    assert_eq!(script.actions().len(), 6);
    let expected = ["DescribeNics", "DescribeNics", "DescribeNics", "DetachNics", "DeleteNics"];
    assert_eq!(*noted.0.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_carried_out_is_never_repeated() {
    for reply in [
        Reply::Lost,
        Reply::Silence,
        no(5000, "InternalError"),
        no(5100, "ServerBusy"),
        with_body(502, "<html>"),
        with_body(200, "{\"ret_code\":0,\"ni"),
        with_body(200, ""),
    ] {
        let (provider, script) = provider([reply]).await;
        let error = provider.delete_nics(&[id(1)]).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown, "{}", error.chain());
        assert_eq!(script.actions(), ["DeleteNics"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_by_the_clouds_and_stays_so() {
    let (provider, script) = provider([no_at(1300, 90), nics(&[]), nics(&[])]).await;
    assert_eq!(provider.client().clock_ahead(), None);
    provider.list_nics(&all()).await.unwrap();
    assert_eq!(provider.client().clock_ahead(), Some(90));
    provider.list_nics(&all()).await.unwrap();
    let asked = script.asked();
    let stamps: Vec<_> = asked.iter().map(|asked| asked.get("time_stamp")).collect();
    assert_eq!(stamps, ["2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z", "2026-01-01T00:01:30Z"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_cannot_be_corrected_is_told_in_seconds() {
    let (provider, script) = provider([no_at(1300, -300), no_at(1300, -300)]).await;
    let error = provider.delete_nics(&[id(1)]).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unauthorised, Effect::None));
    assert!(error.chain().to_string().contains("300 s ahead of the cloud's"), "{}", error.chain());
    assert_eq!(provider.client().clock_ahead(), Some(-300));
    assert_eq!(script.actions().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_after_the_time_for_a_call() {
    let (provider, _) = provider([Reply::Silence]).await;
    let began = Instant::now();
    let error = provider.list_nics(&all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(began.elapsed(), config().call_timeout);
}

#[tokio::test(start_paused = true)]
async fn all_pages_together_have_one_deadline() {
    let page = |first: u32| {
        let rows: Vec<Value> = (first..first + 100)
            .map(|n| {
                json!({"nic_id": format!("52:54:00:00:{:02x}:{:02x}", n / 256, n % 256),
                "vxnet_id": "vxnet-1", "status": "available"})
            })
            .collect();
        ok(json!({"nic_set": rows, "total_count": 300}))
    };
    let script = Script::new([page(0), page(100), Reply::Silence]);
    let mut config = config();
    config.operation_timeout = Duration::from_secs(10);
    let provider = provider_of(config, &script).await;
    let began = Instant::now();
    let error = provider.list_nics(&all()).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Transient, Duration::from_secs(10)));
    let asked = script.asked();
    let pages: Vec<_> = asked.iter().map(|asked| (asked.get("offset"), asked.get("limit"))).collect();
    assert_eq!(pages, [("0", "100"), ("100", "100"), ("200", "100")]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shrank_while_it_was_read_is_read_again() {
    // Between the pages the first NIC goes, which moves the third to where the first page ended.
    let page = |rows: &[u8], total: u32| {
        let rows: Vec<Value> = rows.iter().map(|n| nic(*n, "", 0)).collect();
        ok(json!({"nic_set": rows, "total_count": total}))
    };
    let (provider, script) =
        provider([page(&[1, 2], 4), page(&[4], 3), page(&[2, 3], 3), page(&[4], 3)]).await;
    let listed = provider.list_nics(&all()).await.unwrap();
    let mut ids: Vec<_> = listed.into_iter().map(|nic| nic.id).collect();
    ids.sort();
    assert_eq!(ids, [id(1), id(2), id(3), id(4)]);
    assert_eq!(script.actions().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn odd_lists_are_read_as_meant() {
    for (answer, count) in [
        (json!({}), 0),
        (json!({"nic_set": null, "total_count": null}), 0),
        (json!({"nic_set": [], "total_count": "0"}), 0),
        (json!({"nic_set": [nic(1, "", 0)]}), 1),
        (json!({"nic_set": [nic(1, "", 0)], "total_count": "1", "new": {}}), 1),
    ] {
        let (provider, script) = provider([ok(answer.clone())]).await;
        assert_eq!(provider.list_nics(&all()).await.unwrap().len(), count, "{answer}");
        assert_eq!(script.actions().len(), 1, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_name_action_and_resource_and_never_the_secret() {
    for reply in [no(1400, "PermissionDenied, no"), Reply::Lost, with_body(403, "<html>")] {
        let (provider, _) = provider([reply]).await;
        let error = provider.delete_nics(&[id(1)]).await.unwrap_err();
        let shown = format!("{} {error:?} {provider:?}", error.chain());
        assert!(shown.contains("DeleteNics") && shown.contains("52:54:00:00:00:01"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
