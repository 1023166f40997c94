//! picket-decode-guest
