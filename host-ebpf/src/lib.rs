//! Record layouts and the kernel object.
