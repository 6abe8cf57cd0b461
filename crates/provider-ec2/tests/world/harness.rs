//! What the suite for every provider may do to the fake EC2.

use std::sync::Arc;

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use fake_ec2::{Fault, Market, Request};
use model::{FleetId, Instance, ProviderRef};
use ports::{Clock, Provider};
use serde_json::Value;

use super::{LAG, TYPE, World, ZONES, offer};

#[async_trait]
impl ProviderHarness for World {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        offer()
    }
    fn fleet(&self) -> FleetId {
        "acme".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("i-0000000000000dead")
    }
    async fn settle(&self) {
        self.clock.pass(LAG * 2);
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(World::alive(self))
    }
    async fn announce_end(&self, machine: &Instance) -> Shown {
        let tagged = self
            .ec2()
            .retag(machine.id.as_str(), "parmanu:notice", "rebalance");
        assert!(tagged, "the machine is there");
        Ok(())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let form = "Action=RunInstances&Version=2016-11-15&ImageId=ami-00000000000000002&\
                    InstanceType=m7i.xlarge&MinCount=1&MaxCount=1&\
                    TagSpecification.1.ResourceType=instance&\
                    TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=database";
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAFAKEFAKEFAKEFAKE/20260101/eu-central-1/ec2/aws4_request, \
             SignedHeaders=host, Signature={}",
            "0".repeat(64)
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-amz-date", "20260101T000000Z"),
        ];
        let request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: form.as_bytes().to_vec(),
        };
        let now = self.clock.now();
        let response = self.ec2().handle(&request, now);
        assert_eq!(response.status, 200, "{}", response.body);
        let id = response.body.split("<instanceId>").nth(1);
        let id = id.and_then(|rest| rest.split('<').next()).expect("an id");
        Ok(ProviderRef::new(id))
    }
    async fn lose_reply(&self) -> Shown {
        self.ec2().fault("RunInstances", 1, Fault::DropAfter);
        Ok(())
    }
    async fn room(&self, machines: u32) -> Shown {
        let mut ec2 = self.ec2();
        for (zone, room) in ZONES.into_iter().zip([machines, 0]) {
            ec2.set_capacity(TYPE, zone, Market::OnDemand, Some(room));
        }
        Ok(())
    }
    async fn blind(&self) -> Shown {
        self.ec2()
            .fault("DescribeInstances", 1, Fault::InternalError);
        Ok(())
    }
    async fn refuse(&self, refusal: Refusal) -> Shown {
        let (times, status, code) = match refusal {
            Refusal::Throttled => (1, 503, "RequestLimitExceeded"),
            // once for each place of the offer
            Refusal::OutOfCapacity => (2, 500, "InsufficientInstanceCapacity"),
            Refusal::OverQuota => (1, 400, "VcpuLimitExceeded"),
            Refusal::Unauthorized => (1, 403, "UnauthorizedOperation"),
            Refusal::BadRequest => (1, 400, "InvalidAMIID.NotFound"),
        };
        let fault = Fault::Refuse {
            status,
            code: code.to_owned(),
        };
        self.ec2().fault("RunInstances", times, fault);
        Ok(())
    }
}
