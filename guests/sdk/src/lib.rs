//! picket-guest
