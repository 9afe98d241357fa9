//! What is planned for which operation, and the pure parts.
