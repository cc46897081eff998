//! How much of the long trials is run.

/// So much of a number as HOSTNIC_SCALE says, a tenth unless told; at least one.
pub(crate) fn scaled(whole: u32) -> u32 {
    let scale: f64 = std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of what was a u32")]
    let part = (f64::from(whole) * scale).round() as u32;
    part.max(1)
}
