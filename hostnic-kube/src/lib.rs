//! What Kubernetes says of a node and its pods, and what they are told by it.
//!
//! No type of the crates that speak to the API server leaves this one.
