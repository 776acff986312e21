//! Refuses frames whose lengths do not fit their bytes, before anything is allocated for them.
