//! picket-sigma
