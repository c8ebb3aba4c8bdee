//! OpenAPI schemas of reports and records. Their properties come from the declarations of the fields.

#![expect(deprecated, reason = "the API description has always had `example`, which `examples` replaces")]

use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Ref, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::deployment::{DeploymentFields, DeploymentReport, DeploymentWithServers};
use crate::fields::{MAX_ELAPSED, MAX_TEXT};
use crate::server::{Server, ServerFields, ServerReport};

/// A text field with this doc comment.
pub(crate) fn text(doc: &str, max_length: usize) -> ObjectBuilder {
    string(doc.trim()).max_length(Some(max_length))
}

/// The field `elapsed_seconds` of a record. Other programs may have stored any number.
pub(crate) fn elapsed_seconds() -> ObjectBuilder {
    seconds(KnownFormat::Int64)
}

fn seconds(format: KnownFormat) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(format)))
        .description(Some("The duration in whole seconds."))
}

fn string(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn deployment_id(description: &str) -> ObjectBuilder {
    string(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
}

fn time(description: &str, example: &str) -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    string(description).format(Some(format)).example(Some(example.into()))
}

fn reported_id() -> ObjectBuilder {
    deployment_id("The id in the path, in any letter case. It may be left out.")
}

fn reported_seconds() -> ObjectBuilder {
    seconds(KnownFormat::Int32).minimum(Some(0)).maximum(Some(MAX_ELAPSED))
}

impl PartialSchema for DeploymentReport {
    fn schema() -> RefOr<Schema> {
        let assert_empty_server_result = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .description(Some("With `true`, a finish also sets its `result` on every server that has no result."));
        DeploymentFields::describe(ObjectBuilder::new())
            .property("elapsed_seconds", reported_seconds())
            .property("deployment_id", reported_id())
            .property("assert_empty_server_result", assert_empty_server_result)
            .description(Some("The report of a deployment. All fields are optional; unknown fields are ignored."))
            .example(Some(json!({
                "deployment_id": "84e803f7-9562-4d95-b828-25b167aea34b", "engine": "vagrant_orchestrate",
                "engine_version": "0.6.3", "host": "localhost", "user": "cbaldauf", "environment": "dev",
                "package": "test", "package_url": "http://mypackage.mydomain.com", "version": "4.5.6",
                "arguments": "--strategy parallel",
            })))
            .into()
    }
}

impl ToSchema for DeploymentReport {}

impl PartialSchema for DeploymentWithServers {
    fn schema() -> RefOr<Schema> {
        let servers = ArrayBuilder::new()
            .items(Ref::from_schema_name(Server::name()))
            .description(Some("The servers, ordered by hostname."));
        DeploymentFields::describe(ObjectBuilder::new())
            .property("deployment_id", deployment_id("The id of the deployment."))
            .required("deployment_id")
            .property("createdAt", time("When the start was recorded, in UTC.", "2015-07-07T17:34:12.075Z"))
            .property("updatedAt", time("When the record last changed, in UTC.", "2015-07-07T17:38:06.102Z"))
            .property("servers", servers)
            .required("servers")
            .description(Some("The record of a deployment. Fields without a value are absent."))
            .into()
    }
}

impl ToSchema for DeploymentWithServers {
    fn name() -> std::borrow::Cow<'static, str> {
        "Deployment".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Server::name().into_owned(), Server::schema()));
    }
}

impl PartialSchema for ServerReport {
    fn schema() -> RefOr<Schema> {
        ServerFields::describe(ObjectBuilder::new())
            .property("elapsed_seconds", reported_seconds())
            .property("deployment_id", reported_id())
            .property("hostname", string("The name of the server.").min_length(Some(1)).max_length(Some(MAX_TEXT)))
            .required("hostname")
            .description(Some("The report of a deployment on one server. Unknown fields are ignored."))
            .example(Some(json!({"hostname": "web01.example.com", "ip_address": "10.0.0.1"})))
            .into()
    }
}

impl ToSchema for ServerReport {}

impl PartialSchema for Server {
    fn schema() -> RefOr<Schema> {
        ServerFields::describe(ObjectBuilder::new())
            // The v1 description states no maximum length for the address in a record.
            .property("ip_address", string("The address of the server."))
            .property("hostname", string("The name of the server."))
            .required("hostname")
            .property("deployment_id", deployment_id("The id of the deployment."))
            .required("deployment_id")
            .property("createdAt", time("When the record was created, in UTC.", "2015-07-07T17:34:13.381Z"))
            .property("updatedAt", time("When the record last changed, in UTC.", "2015-07-07T17:34:20.644Z"))
            .description(Some("The record of a deployment on one server. Fields without a value are absent."))
            .into()
    }
}

impl ToSchema for Server {}
