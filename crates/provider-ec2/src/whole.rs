//! Refuses an answer that broke off.
//!
//! The SDK's XML reader takes a document that ends in the middle for a complete one: half a listing looks like a
//! small fleet, and everything missing from it would be made again. A transport that counts bytes notices a lost end,
//! a proxy that counts anew does not; so the end of the document itself is looked for.

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use ports::BoxError;

/// The check, as one of the SDK's interceptors.
#[derive(Debug)]
pub(crate) struct WholeAnswers;

/// The answer has a beginning and no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off before its end")
    }
}

impl std::error::Error for BrokenOff {}

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // an error's document is short, and its code was read or it was not
        if response.status().is_success() && !response.body().bytes().is_some_and(is_whole) {
            return Err(Box::new(BrokenOff));
        }
        Ok(())
    }
}

/// Whether the document ends with the end of an EC2 answer, such as `</RunInstancesResponse>`.
fn is_whole(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    let last_tag = body
        .iter()
        .rposition(|&byte| byte == b'<')
        .map(|start| &body[start..]);
    last_tag.is_some_and(|tag| tag.starts_with(b"</") && tag.ends_with(b"Response>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_document_with_its_end_is_whole() {
        let document = "<?xml version=\"1.0\"?>\n<XResponse xmlns=\"u\"><a>b</a></XResponse>\n";
        assert!(is_whole(document.as_bytes()));
        let end = document.trim_end().len();
        for cut in 0..end {
            assert!(
                !is_whole(&document.as_bytes()[..cut]),
                "{}",
                &document[..cut]
            );
        }
    }
}
