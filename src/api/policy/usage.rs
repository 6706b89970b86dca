//! How much of limits, permits and pools is used.

use tonic::Request;

use super::{PolicyApi, place::Place, reports::Asked};
use crate::{
    api::{
        caller::caller,
        convert::policy as convert,
        page::{self, Room},
        parse::Fields,
        proto::v1 as pb,
        reach,
    },
    error::Result,
    fleet::names::InstanceKey,
    policy::observed::Seen,
};

impl PolicyApi {
    pub(super) async fn usage(&self, request: Request<pb::GetUsageRequest>) -> Result<pb::GetUsageResponse> {
        let (_, extensions, wire) = request.into_parts();
        let identity = &caller(&extensions)?.identity;
        let pb::GetUsageRequest { service, instance_id, page_size, page_token } = wire;
        let mut fields = Fields::default();
        let asked = Asked::parse(&mut fields, &service, &instance_id);
        let size = page::size(&mut fields, page_size);
        let begin = Place::parse(&mut fields, &page_token);
        fields.check()?;
        asked.service().map_or(Ok(()), |service| reach::sees_service(identity, service))?;
        let scope = reach::seen(identity)?;

        let (mut room, mut last, mut all) = (Room::new(size), None, true);
        let (mut limits, mut instances) = (Vec::new(), Vec::new());
        // How the control plane as a whole is is for who is not narrowed.
        if asked.service().is_none() && scope.is_everything() {
            let rows = convert::own_usage(self.rules.usage()).into_iter();
            let is_new = |row: &str| begin.as_ref().is_none_or(|place| place.is_before_own(row));
            for (place, row) in rows.filter(|(place, _)| is_new(place)) {
                if room.is_full() {
                    all = false;
                    break;
                }
                room.take(&row);
                limits.push(row);
                last = Some(Place::Own(place));
            }
        }
        let from = begin.as_ref().and_then(Place::instance);
        let take = |key: &InstanceKey, seen: &Seen| {
            if from == Some(key) {
                return true;
            }
            if room.is_full() {
                return false;
            }
            let row = convert::instance_usage(key, seen);
            room.take(&row);
            instances.push(row);
            last = Some(Place::Of(key.clone(), String::new()));
            true
        };
        all = all && self.each_report(scope, &asked, from, take).await;
        let next = last.filter(|_| !all).map(|last| last.token());
        Ok(pb::GetUsageResponse { limits, instances, next_page_token: next.unwrap_or_default() })
    }
}
