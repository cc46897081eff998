//! Answers as plain values: checked and read, without any I/O.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{Failure, Refusal};
use crate::transport::HttpResponse;
use crate::wire::integer;

/// As much of a message as is passed on.
const LONGEST_MESSAGE: usize = 400;

/// Reads an answer.
///
/// The body of what is not the API's answer is never quoted: such pages may repeat the URL, which may hold a
/// token.
pub(crate) fn read<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, Failure> {
    let HttpResponse { status, retry_after, .. } = *response;
    let body = serde_json::from_slice::<Value>(&response.body);
    // An answer of the API counts as one whatever its status: proxies are known to change that.
    let code = body.as_ref().ok().and_then(|body| body.get("ret_code")).and_then(integer);
    if let (Ok(body), Some(code @ 1..)) = (&body, code) {
        let message = body.get("message").and_then(Value::as_str).unwrap_or("(no message)");
        return Err(Refusal { code, message: plain(message) }.into());
    }
    if status != 200 {
        return Err(Failure::Status { status, retry_after });
    }
    let body = body.map_err(|error| Failure::Garbled(describe(response, &error)))?;
    if code != Some(0) {
        return Err(Failure::Garbled("it has no ret_code".to_owned()));
    }
    serde_json::from_value(body).map_err(|error| Failure::Garbled(error.to_string()))
}

fn describe(response: &HttpResponse, error: &serde_json::Error) -> String {
    let kind = response.content_type.as_deref().unwrap_or("of no type");
    let cut = if error.is_eof() { ", which ends too soon" } else { ", which is not JSON" };
    format!("{} bytes {}{cut}", response.body.len(), plain(kind))
}

/// The text in one line, and not too long.
fn plain(text: &str) -> String {
    let mut plain: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect();
    if plain.len() < text.len() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, body: body.as_bytes().to_vec(), ..HttpResponse::default() }
    }

    fn failure(status: u16, body: &str) -> Failure {
        read::<Value>(&response(status, body)).unwrap_err()
    }

    #[test]
    fn a_good_answer_is_read_also_with_a_number_as_text() {
        for body in [r#"{"ret_code":0,"x":1}"#, r#"{"ret_code":"0","x":1}"#] {
            assert_eq!(read::<Value>(&response(200, body)).unwrap()["x"], 1);
        }
    }

    #[test]
    fn a_refusal_is_one_whatever_the_status_and_its_message_is_made_fit_for_a_log() {
        for status in [200, 400, 500] {
            let Failure::Refused(refusal) = failure(status, r#"{"ret_code":1400,"message":"No,\nno"}"#)
            else {
                panic!("not a refusal")
            };
            assert_eq!(refusal, Refusal { code: 1400, message: "No, no".to_owned() });
        }
        for body in [r#"{"ret_code":"5000"}"#, r#"{"ret_code":5000,"message":null}"#] {
            assert!(matches!(failure(200, body), Failure::Refused(Refusal { code: 5000, .. })), "{body}");
        }
        let long = format!(r#"{{"ret_code":1100,"message":"{}"}}"#, "é".repeat(5000));
        assert!(failure(200, &long).to_string().chars().count() < 500);
    }

    #[test]
    fn what_is_not_the_apis_is_told_without_its_text() {
        for (status, body, words) in [
            (502, "<html>secret</html>", "502"),
            (200, "<html>secret</html>", "not JSON"),
            (200, r#"{"ret_code":0,"nic_set":[{"secret"#, "ends too soon"),
            (200, "", "ends too soon"),
            (200, "{}", "no ret_code"),
            (200, "[]", "no ret_code"),
            (200, r#"{"ret_code":null}"#, "no ret_code"),
            (200, r#"{"ret_code":-1}"#, "no ret_code"),
        ] {
            let text = failure(status, body).to_string();
            assert!(text.contains(words) && !text.contains("secret"), "{body}: {text}");
        }
    }
}
