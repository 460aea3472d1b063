//! Writes that complete later are not supported on this system: commit threads make them.

use crate::state::EnvironmentState;
use forelog::WriteQueue;
use napi::sys;
use std::rc::Rc;
use std::sync::Arc;

pub struct Writes {
    pub queue: Arc<dyn WriteQueue>,
}

impl Writes {
    pub fn new(_: sys::napi_env, _: sys::napi_value, _: Arc<dyn WriteQueue>, _: &Rc<EnvironmentState>) -> Option<Writes> {
        None
    }

    pub fn keep_alive(&self, _alive: bool) {}
}
