//! Whether a delivered answer is, as a whole, an error.
//!
//! Many services say 200 (and many tools exit 0) and put the failure into the body.
//! Only shape counts here: a body is an error envelope when an error field is all
//! it is about. A ticket *about* an error, a list of log records, a job record with
//! an `error` column have other content beside it and are payload.
//!
//! Shapes known: an `error` object or text, `ok`/`success` false, GraphQL `errors`
//! without data, problem+json, `statusCode` of 400 and above, AWS `__type`, Lambda
//! `errorMessage`, `errcode`, Shopify `userErrors`, a bare message that gateways answer with, an
//! HTTP exchange of status 400 and above, XML `<Error>` and SOAP faults, server
//! error pages in HTML, SSE error events.

mod json;
mod markup;
mod plain;
mod stream;

pub(super) use json::{is_error, names_an_error};
pub(super) use markup::{TextError, error_page, is_markup, visible_text, xml_error, xml_parts};
pub(super) use plain::is_error_text;
pub(super) use stream::{Event, error_event, events};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_table() {
        #[rustfmt::skip]
        let rows = [
            ("an error object", json!({"error": {"code": 500, "message": "x"}}), true),
            ("an error beside a request id", json!({"error": "boom", "request_id": "r1"}), true),
            ("Slack", json!({"ok": false, "error": "ratelimited"}), true),
            ("Cloudflare", json!({"success": false, "errors": [{"code": 10000}], "messages": [], "result": null}), true),
            ("GraphQL without data", json!({"errors": [{"message": "x"}], "data": null}), true),
            ("GraphQL whose data is all null", json!({"errors": [{"message": "x"}], "data": {"user": null}}), true),
            ("GraphQL with data", json!({"errors": [{"message": "x"}], "data": {"user": {"id": 1}}}), false),
            ("problem+json", json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "x"}), true),
            ("a Lambda proxy answer", json!({"statusCode": 502, "body": "{\"message\":\"x\"}"}), true),
            ("AWS", json!({"__type": "com.x#ThrottlingException", "message": "Rate exceeded"}), true),
            ("WeChat", json!({"errcode": 40001, "errmsg": "invalid credential"}), true),
            ("WeChat fine", json!({"errcode": 0, "errmsg": "ok"}), false),
            ("Shopify's user errors", json!({"data": {"productCreate": {"product": null, "userErrors": [{"message": "x"}]}}}), true),
            ("Salesforce", json!([{"message": "x", "errorCode": "INVALID_FIELD"}]), true),
            ("a ticket about an error", json!({"id": 7, "title": "Crash", "error": "500", "assignee": "kim"}), false),
            ("a list of log records", json!([{"level": "error", "message": "timeout"}]), false),
            ("search hits", json!({"results": [{"error": "x"}], "total": 1}), false),
            ("no error", json!({"error": null, "data": [1]}), false),
            ("a plain message", json!({"message": "deleted"}), false),
            ("a success code", json!({"code": 0, "msg": "success", "data": {}}), false),
            ("an empty object", json!({}), false),
        ];
        for (name, value, want) in rows {
            assert_eq!(is_error(&value), want, "row: {name}");
        }
    }

    #[test]
    fn markup_table() {
        assert!(
            xml_error("<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>")
                .is_some_and(|e| e.codes == ["SlowDown"])
        );
        assert!(xml_error("<soap:Envelope xmlns:soap=\"x\"><soap:Body><soap:Fault><faultcode>soap:Server</faultcode></soap:Fault></soap:Body></soap:Envelope>").is_some());
        assert!(xml_error("<ListBucketResult><Name>errors</Name></ListBucketResult>").is_none());
        let page = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>";
        assert_eq!(error_page(page).and_then(|page| page.status), Some(502));
        assert!(
            error_page("<html><title>429 errors: how to fix them</title><body>…</body></html>")
                .is_none()
        );
    }

    #[test]
    fn streams_are_split_and_searched() {
        let stream = "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        let events = events(stream).expect("a stream");
        assert_eq!(events.len(), 2);
        assert!(error_event(&events).is_some());
        assert_eq!(super::events("{\"data\": 1}"), None);
    }

    #[test]
    fn error_text_table() {
        #[rustfmt::skip]
        let rows = [
            ("a message", "Error: connection refused", true),
            ("an exception", "TimeoutError: page.goto: Timeout 30000ms exceeded.", true),
            ("prose about errors", "Errors of this kind are common.", false),
            ("a report", "The build finished. Error: none", false),
            ("redis", "(error) NOAUTH Authentication required.", true),
        ];
        for (name, text, want) in rows {
            assert_eq!(is_error_text(text), want, "row: {name}");
        }
    }
}
