//! picket-sigma-guest
