//! Calls about people, credentials, connections, repositories, leases and the audit record.

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::id::{
    CredentialId, GroupId, LeaseId, OrganizationId, RunnerId, TokenId, UserId, WorkloadId,
};

use super::{Client, ClientError};
use crate::audit::{AuditEventView, AuditQuery};
use crate::connection_types::ConnectionTypeView;
use crate::connections::{
    ConnectionQuery, ConnectionReconfigured, ConnectionUsage, ConnectionView, CreateConnection,
    DeleteConnection, ExplainQuery, Explanation, ReconfigureConnection, TransferConnection,
    UpdateConnection, VersionSeen,
};
use crate::credentials::{CreateCredential, CredentialView, UpdateCredential};
use crate::groups::{CreateGroup, GroupView, UpdateGroup};
use crate::leases::{IssueLease, LeaseIssued, LeaseQuery, LeaseView, RejectionReported};
use crate::members::{CreateMember, MemberCreated, MemberView, UpdateMember};
use crate::organizations::{CreateOrganization, OrganizationView, UpdateOrganization};
use crate::repositories::{
    BranchMerged, BranchQuery, BranchView, DeleteBranch, DeleteTag, MergeBranch, RepositoryQuery,
    RepositoryView,
};
use crate::runners::{CreateRunner, RunnerCreated, RunnerView};
use crate::sessions::{
    AcceptInvitation, ChangePassword, CreateSession, CurrentUser, SessionCreated, SetUpServer,
};
use crate::tokens::{CreateToken, TokenCreated, TokenView};
use crate::workloads::{CreateWorkload, WorkloadCreated};
use crate::{List, PageQuery};

type Result<T> = std::result::Result<T, ClientError>;

/// Each method is one operation of the API, under its operation id; see docs/reference/openapi.json.
#[expect(missing_docs, reason = "the operation of the same name says it")]
impl Client {
    pub async fn set_up_server(&self, body: &SetUpServer) -> Result<SessionCreated> {
        self.post("api/v1/setup", body).await
    }

    pub async fn accept_invitation(&self, body: &AcceptInvitation) -> Result<SessionCreated> {
        self.post("api/v1/invitations/accept", body).await
    }

    pub async fn create_session(&self, body: &CreateSession) -> Result<SessionCreated> {
        self.post("api/v1/sessions", body).await
    }

    pub async fn delete_session(&self) -> Result<()> {
        self.delete("api/v1/sessions/current", &()).await
    }

    pub async fn get_current_user(&self) -> Result<CurrentUser> {
        self.get("api/v1/user").await
    }

    pub async fn change_password(&self, body: &ChangePassword) -> Result<()> {
        self.put("api/v1/user/password", body).await
    }

    pub async fn list_connection_types(&self) -> Result<List<ConnectionTypeView>> {
        self.get("api/v1/connection-types").await
    }

    pub async fn create_organization(&self, body: &CreateOrganization) -> Result<OrganizationView> {
        self.post("api/v1/organizations", body).await
    }

    pub async fn list_organizations(&self) -> Result<List<OrganizationView>> {
        self.get("api/v1/organizations").await
    }

    pub async fn get_organization(
        &self,
        organization: &OrganizationId,
    ) -> Result<OrganizationView> {
        self.get(&format!("api/v1/organizations/{organization}")).await
    }

    pub async fn update_organization(
        &self,
        organization: &OrganizationId,
        body: &UpdateOrganization,
    ) -> Result<OrganizationView> {
        self.patch(&format!("api/v1/organizations/{organization}"), body).await
    }

    pub async fn create_member(
        &self,
        organization: &OrganizationId,
        body: &CreateMember,
    ) -> Result<MemberCreated> {
        self.post(&format!("api/v1/organizations/{organization}/members"), body).await
    }

    pub async fn list_members(
        &self,
        organization: &OrganizationId,
        query: &PageQuery,
    ) -> Result<List<MemberView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/members"), query).await
    }

    pub async fn update_member(
        &self,
        organization: &OrganizationId,
        user: &UserId,
        body: &UpdateMember,
    ) -> Result<MemberView> {
        self.patch(&format!("api/v1/organizations/{organization}/members/{user}"), body).await
    }

    pub async fn delete_member(&self, organization: &OrganizationId, user: &UserId) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/members/{user}"), &()).await
    }

    pub async fn create_group(
        &self,
        organization: &OrganizationId,
        body: &CreateGroup,
    ) -> Result<GroupView> {
        self.post(&format!("api/v1/organizations/{organization}/groups"), body).await
    }

    pub async fn list_groups(
        &self,
        organization: &OrganizationId,
        query: &PageQuery,
    ) -> Result<List<GroupView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/groups"), query).await
    }

    pub async fn update_group(
        &self,
        organization: &OrganizationId,
        group: &GroupId,
        body: &UpdateGroup,
    ) -> Result<GroupView> {
        self.put(&format!("api/v1/organizations/{organization}/groups/{group}"), body).await
    }

    pub async fn delete_group(&self, organization: &OrganizationId, group: &GroupId) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/groups/{group}"), &()).await
    }

    pub async fn create_token(
        &self,
        organization: &OrganizationId,
        body: &CreateToken,
    ) -> Result<TokenCreated> {
        self.post(&format!("api/v1/organizations/{organization}/tokens"), body).await
    }

    pub async fn list_tokens(
        &self,
        organization: &OrganizationId,
        query: &PageQuery,
    ) -> Result<List<TokenView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/tokens"), query).await
    }

    pub async fn delete_token(&self, organization: &OrganizationId, token: &TokenId) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/tokens/{token}"), &()).await
    }

    pub async fn create_credential(
        &self,
        organization: &OrganizationId,
        body: &CreateCredential,
    ) -> Result<CredentialView> {
        self.post(&format!("api/v1/organizations/{organization}/credentials"), body).await
    }

    pub async fn list_credentials(
        &self,
        organization: &OrganizationId,
        query: &PageQuery,
    ) -> Result<List<CredentialView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/credentials"), query).await
    }

    pub async fn get_credential(
        &self,
        organization: &OrganizationId,
        credential: &CredentialId,
    ) -> Result<CredentialView> {
        self.get(&format!("api/v1/organizations/{organization}/credentials/{credential}")).await
    }

    pub async fn update_credential(
        &self,
        organization: &OrganizationId,
        credential: &CredentialId,
        body: &UpdateCredential,
    ) -> Result<CredentialView> {
        let path = format!("api/v1/organizations/{organization}/credentials/{credential}");
        self.patch(&path, body).await
    }

    pub async fn delete_credential(
        &self,
        organization: &OrganizationId,
        credential: &CredentialId,
    ) -> Result<()> {
        let path = format!("api/v1/organizations/{organization}/credentials/{credential}");
        self.delete(&path, &()).await
    }

    pub async fn create_connection(
        &self,
        organization: &OrganizationId,
        body: &CreateConnection,
    ) -> Result<ConnectionView> {
        self.post(&format!("api/v1/organizations/{organization}/connections"), body).await
    }

    pub async fn list_connections(
        &self,
        organization: &OrganizationId,
        query: &ConnectionQuery,
    ) -> Result<List<ConnectionView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/connections"), query).await
    }

    pub async fn get_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
    ) -> Result<ConnectionView> {
        self.get(&connection_path(organization, connection, "")).await
    }

    pub async fn update_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        body: &UpdateConnection,
    ) -> Result<ConnectionView> {
        self.patch(&connection_path(organization, connection, ""), body).await
    }

    pub async fn delete_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &DeleteConnection,
    ) -> Result<()> {
        self.delete(&connection_path(organization, connection, ""), query).await
    }

    pub async fn verify_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
    ) -> Result<ConnectionView> {
        self.post(&connection_path(organization, connection, "/verify"), &()).await
    }

    pub async fn reconfigure_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        body: &ReconfigureConnection,
    ) -> Result<ConnectionReconfigured> {
        self.post(&connection_path(organization, connection, "/reconfigure"), body).await
    }

    pub async fn roll_back_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        body: &VersionSeen,
    ) -> Result<ConnectionReconfigured> {
        self.post(&connection_path(organization, connection, "/roll-back"), body).await
    }

    pub async fn transfer_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        body: &TransferConnection,
    ) -> Result<ConnectionView> {
        self.post(&connection_path(organization, connection, "/transfer"), body).await
    }

    pub async fn explain_connection(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &ExplainQuery,
    ) -> Result<Explanation> {
        self.get_with(&connection_path(organization, connection, "/explain"), query).await
    }

    pub async fn get_connection_usage(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
    ) -> Result<ConnectionUsage> {
        self.get(&connection_path(organization, connection, "/usage")).await
    }

    pub async fn list_repositories(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &RepositoryQuery,
    ) -> Result<List<RepositoryView>> {
        self.get_with(&connection_path(organization, connection, "/repositories"), query).await
    }

    pub async fn list_branches(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &BranchQuery,
    ) -> Result<List<BranchView>> {
        self.get_with(&connection_path(organization, connection, "/branches"), query).await
    }

    pub async fn delete_branch(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &DeleteBranch,
    ) -> Result<()> {
        self.delete(&connection_path(organization, connection, "/branches"), query).await
    }

    pub async fn merge_branch(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        body: &MergeBranch,
    ) -> Result<BranchMerged> {
        self.post(&connection_path(organization, connection, "/merges"), body).await
    }

    pub async fn delete_tag(
        &self,
        organization: &OrganizationId,
        connection: &ConnectionId,
        query: &DeleteTag,
    ) -> Result<()> {
        self.delete(&connection_path(organization, connection, "/tags"), query).await
    }

    pub async fn issue_lease(
        &self,
        organization: &OrganizationId,
        body: &IssueLease,
    ) -> Result<LeaseIssued> {
        self.post(&format!("api/v1/organizations/{organization}/leases"), body).await
    }

    pub async fn list_leases(
        &self,
        organization: &OrganizationId,
        query: &LeaseQuery,
    ) -> Result<List<LeaseView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/leases"), query).await
    }

    pub async fn get_lease(
        &self,
        organization: &OrganizationId,
        lease: &LeaseId,
    ) -> Result<LeaseView> {
        self.get(&format!("api/v1/organizations/{organization}/leases/{lease}")).await
    }

    pub async fn end_lease(&self, organization: &OrganizationId, lease: &LeaseId) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/leases/{lease}"), &()).await
    }

    pub async fn report_rejection(
        &self,
        organization: &OrganizationId,
        lease: &LeaseId,
    ) -> Result<RejectionReported> {
        let path = format!("api/v1/organizations/{organization}/leases/{lease}/rejection");
        self.post(&path, &()).await
    }

    pub async fn create_workload(
        &self,
        organization: &OrganizationId,
        body: &CreateWorkload,
    ) -> Result<WorkloadCreated> {
        self.post(&format!("api/v1/organizations/{organization}/workloads"), body).await
    }

    pub async fn end_workload(
        &self,
        organization: &OrganizationId,
        workload: &WorkloadId,
    ) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/workloads/{workload}"), &()).await
    }

    pub async fn create_runner(
        &self,
        organization: &OrganizationId,
        body: &CreateRunner,
    ) -> Result<RunnerCreated> {
        self.post(&format!("api/v1/organizations/{organization}/runners"), body).await
    }

    pub async fn list_runners(
        &self,
        organization: &OrganizationId,
        query: &PageQuery,
    ) -> Result<List<RunnerView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/runners"), query).await
    }

    pub async fn delete_runner(
        &self,
        organization: &OrganizationId,
        runner: &RunnerId,
    ) -> Result<()> {
        self.delete(&format!("api/v1/organizations/{organization}/runners/{runner}"), &()).await
    }

    pub async fn list_audit_events(
        &self,
        organization: &OrganizationId,
        query: &AuditQuery,
    ) -> Result<List<AuditEventView>> {
        self.get_with(&format!("api/v1/organizations/{organization}/audit-events"), query).await
    }
}

fn connection_path(organization: &OrganizationId, connection: &ConnectionId, rest: &str) -> String {
    format!("api/v1/organizations/{organization}/connections/{connection}{rest}")
}
