//! The table of operations. Router, `Allow`, OpenAPI document and documentation are made from it.

use super::{auth, resources, route::Route};

/// All rows, by chapter.
pub(super) const ROUTES: &[&[Route]] = &[
    resources::system::ROUTES,
    auth::ROUTES,
    resources::providers::ROUTES,
    resources::providers::nodes::ROUTES,
    resources::presets::ROUTES,
    resources::combos::ROUTES,
    resources::models::ROUTES,
    resources::disabled::ROUTES,
    resources::custom::ROUTES,
    resources::keys::ROUTES,
    resources::settings::ROUTES,
    resources::locale::ROUTES,
    resources::database::ROUTES,
    resources::outside::ROUTES,
    resources::tags::ROUTES,
    resources::usage::ROUTES,
    resources::requests::ROUTES,
    resources::events::ROUTES,
    resources::pricing::ROUTES,
    resources::mitm::ROUTES,
];
