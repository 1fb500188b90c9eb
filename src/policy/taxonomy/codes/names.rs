//! Codes that are names. A table; the order of entries has no meaning.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Reading;
use crate::policy::taxonomy::meaning::Meaning::{
    self, Cost, Human, Lock, Persistent, Rate, Semantic, Transient,
};
use crate::policy::taxonomy::meaning::Weight::{self, Broad, Exact};

/// Returns what the code `name` says, if it is known.
pub(in super::super) fn lookup(name: &str) -> Option<Reading> {
    if name.len() > 160 {
        return None;
    }
    let name = without_namespace(name);
    // Salesforce's daily allowance and EC2's request rate differ in case only.
    if name == "REQUEST_LIMIT_EXCEEDED" {
        return Some((Cost, Exact));
    }
    let plain = normalise(name);
    if plain.is_empty() {
        return None;
    }
    TABLE.get(plain.as_str()).copied().or_else(|| {
        let stem = ["exception", "error", "fault", "failure"]
            .iter()
            .find_map(|end| plain.strip_suffix(end))?;
        TABLE.get(stem).copied()
    })
}

/// Returns what a word of running text says, if it can only be a code.
///
/// A code in text is told by its shape: `snake_case`, `CamelCase`, `EERRNO`, `SHOUTED_NAME`.
pub(in super::super) fn lookup_token(token: &str) -> Option<Reading> {
    if !(3..=80).contains(&token.len()) || !looks_like_code(token) {
        return None;
    }
    lookup(token)
}

fn looks_like_code(token: &str) -> bool {
    let all_caps = token
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if all_caps {
        // `EIO`, `E401`, but no short word such as `LOCKED`.
        return token.contains('_') || token.starts_with('E') || token.len() >= 9;
    }
    if token.len() < 5 {
        return false;
    }
    let humps = token
        .chars()
        .skip(1)
        .zip(token.chars())
        .filter(|(c, before)| c.is_ascii_uppercase() && before.is_ascii_lowercase());
    token.contains('_') || humps.count() >= 1
}

fn without_namespace(name: &str) -> &str {
    let name = name.trim().rsplit('#').next().unwrap_or(name);
    let name = name.split([':', ' ']).next().unwrap_or(name);
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

fn normalise(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

static TABLE: LazyLock<HashMap<String, Reading>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    for (meaning, weight, names) in NAMES {
        for name in names.split_whitespace() {
            table.insert(normalise(name), (*meaning, *weight));
        }
    }
    table
});

/// Meaning, weight, names. Sources: the error references of the services named.
#[rustfmt::skip]
const NAMES: &[(Meaning, Weight, &str)] = &[
    // ---- a human has to act -------------------------------------------------
    (Transient, Broad, "UNKNOWN_ERROR"),
    // Which block it is stands in the reason, by number.
    (Persistent, Broad, "cluster_block_exception"),
    (Human, Exact, "requires_action requires_source_action authentication_not_handled \
        interaction_required consent_required mfa_required mfa_challenge_required two_factor_required \
        two_factor_setup_required second_factor_required otp_required EOTP one_time_password_required step_up_required \
        insufficient_user_authentication sso_required saml_required OrgSSOAuthorizationRequired \
        approval_required requires_approval requiresApproval pending_approval awaiting_approval ApprovalRequired needs_approval \
        pending_review manual_review_required human_review_required confirmation_required requires_confirmation \
        terms_not_accepted terms_of_service_required tos_not_accepted terms_required tos_acceptance_required \
        license_not_accepted agreement_required MarketplacePurchaseEligibilityFailed MarketplaceSubscriptionRequired \
        UserAgreementRequired acknowledgement_required captcha_required captcha_needed CaptchaRequiredException \
        recaptcha_required challenge_required checkpoint_required verification_required identity_verification_required \
        organization_not_verified organization_must_be_verified OrganizationVerificationRequired kyc_required \
        exemption_required InvalidMultiFactorAuthentication MFARequired MultiFactorAuthRequired CondaToSNonInteractiveError \
        admin_consent_required AADSTS50076 AADSTS50079 AADSTS50072 AADSTS65001 AADSTS50158 AADSTS90094 AADSTS50074 AADSTS90095 \
        AADSTS53003 sealed vault_sealed user_action_required manual_approval_required gated_repo GatedRepoError \
        SOFTWARE_TOKEN_MFA SMS_MFA EMAIL_OTP SMS_OTP MFA_SETUP SELECT_MFA_TYPE NEW_PASSWORD_REQUIRED ORDER_NOT_APPROVED INSTRUMENT_DECLINED \
        customer_action_required issuer_contact_required call_issuer PAYER_ACTION_REQUIRED authorization_pending ITEM_LOGIN_REQUIRED"),

    // ---- quota, credit, budget, context -------------------------------------
    (Cost, Exact, "insufficient_quota billing_hard_limit_reached billing_not_active billing_error billing_disabled BillingDisabled \
        BILLING_DISABLED billing_limit billing_limit_exceeded quota_exceeded QuotaExceededException over_quota \
        quotaExceeded dailyLimitExceeded dailyLimitExceededUnreg monthlyLimitExceeded \
        ServiceQuotaExceededException LimitExceededException ServiceLimitExceeded InstanceLimitExceeded VcpuLimitExceeded \
        VpcLimitExceeded AddressLimitExceeded TooManyBuckets MaxSpotInstanceCountExceeded \
        credit_balance_too_low insufficient_credits insufficient_credit InsufficientBalance insufficient_balance \
        not_enough_credits no_credits out_of_credits exceeded_budget budget_exceeded BudgetExceededError ExceededBudget \
        spend_limit_exceeded usage_limit_reached usage_limit_exceeded usageLimits usage_cap_exceeded UsageCapExceeded \
        payment_required subscription_required plan_limit_reached plan_limit_exceeded PlanLimitExceeded \
        context_length_exceeded context_window_exceeded ContextWindowExceededError model_context_window_exceeded max_context_length_exceeded \
        prompt_too_long input_too_long tokens_limit_exceeded token_limit_exceeded \
        max_tokens_exceeded exceeded_max_tokens token_quota_exceeded \
        Arrearage AccountOverdue AccountOverdueError AccountArrears InsufficientFunds insufficient_funds \
        AllocationQuota.FreeTierOnly FreeTierOnly FreeAllocatedQuotaExceeded CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue \
        bytesBilledLimitExceeded insufficient_space API_LIMIT_EXCEEDED TotalRequests_Limit_Exceeded STORAGE_LIMIT_EXCEEDED \
        storageQuotaExceeded teamDriveFileLimitExceeded MonthlyQuotaExceeded daily_limit_exceeded monthly_limit_exceeded \
        monthly_quota_exceeded daily_quota_exceeded free_tier_limit_exceeded trial_expired trial_limit_exceeded \
        QUOTA_EXCEEDED INSUFFICIENT_QUOTA SubscriptionQuotaExceeded \
        INVALID_PAYMENT_INSTRUMENT accountQuotaExceeded monthly_spend_limit overspend org_budget_exceeded \
        AccountQuotaExceeded concurrentQuotaExceeded CreditLimitExceeded dailyQuotaExceeded maximum_credits_exceeded"),

    // ---- request rates ------------------------------------------------------
    (Rate, Exact, "rate_limit_exceeded rate_limit rate_limit_error ratelimited rate_limited ratelimit rateLimitExceeded \
        userRateLimitExceeded RateLimitExceeded RateLimitReached RATE_LIMIT_EXCEEDED too_many_requests TooManyRequests \
        TooManyRequestsException TOO_MANY_REQUESTS Throttling ThrottlingException Throttled ThrottledException THROTTLED \
        RequestThrottled RequestThrottledException RequestLimitExceeded RequestRateTooLarge ProvisionedThroughputExceededException \
        SlowDown slow_down EC2ThrottledException PriorityThrottle \
        RateQuota BurstRate Throttling.RateQuota Throttling.BurstRate Throttling.User limit_requests limit_burst_rate \
        RateLimitError requests_rate_exceeded tokens_rate_exceeded service_tier_capacity_exceeded FLOOD_WAIT FloodWait \
        MESSAGE_RATE_EXCEEDED messageRateExceeded message-rate-exceeded device-message-rate-exceeded topics-message-rate-exceeded \
        DEVICE_MESSAGE_RATE_EXCEEDED concurrency_limit_exceeded ConcurrentInvocationLimitExceeded ReservedFunctionConcurrentInvocationLimitExceeded \
        CallerRateLimitExceeded SubscriptionRequestsThrottled OperationThrottled ServerSideThrottling \
        rate_limit_hit RATE_LIMITS too_many_write_operations api_rate_limit request_rate_too_large toomanyrequests"),

    // ---- wrong until somebody changes something -----------------------------
    (Persistent, Exact, "FailedAuthentication InvalidSecurityToken InvalidSecurity FailedCheck invalid_api_key incorrect_api_key API_KEY_INVALID API_KEY_EXPIRED API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED \
        api_key_expired api_key_revoked InvalidApiKey invalid_key missing_api_key no_api_key keyInvalid keyExpired \
        authentication_error AuthenticationError AuthenticationFailed authentication_failed AuthFailure auth_error authError InvalidAuthenticationToken \
        invalid_auth not_authed account_inactive token_revoked token_expired invalid_token InvalidToken ExpiredToken ExpiredTokenException \
        TokenExpired InvalidAccessToken InvalidAuthenticationInfo expired_token RequestExpired SignatureDoesNotMatch InvalidSignatureException \
        IncompleteSignature InvalidClientTokenId UnrecognizedClientException InvalidAccessKeyId MissingAuthenticationToken MissingAuthenticationTokenException \
        OptInRequired AccessDenied AccessDeniedException AccessDeniedError AuthorizationError AuthorizationFailed AuthorizationFailure \
        AuthorizationPermissionMismatch UnauthorizedOperation UnauthorizedException UnauthorizedAccess NotAuthorized NotAuthorizedException \
        permission_error permission_denied_error missing_scope insufficient_scope insufficient_permissions insufficientPermissions \
        insufficientFilePermissions insufficient_privileges INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY \
        accessNotConfigured SERVICE_DISABLED CONSUMER_SUSPENDED CONSUMER_INVALID ACCESS_TOKEN_SCOPE_INSUFFICIENT ACCESS_TOKEN_EXPIRED \
        ACCOUNT_STATE_INVALID CREDENTIALS_MISSING INVALID_SESSION_ID INVALID_LOGIN INVALID_AUTH INVALID_CREDENTIALS invalid_credentials \
        org_login_required ACCESS_REFUSED no_permission ekm_access_denied access_denied user_is_restricted restricted_resource \
        invalid_client unauthorized_client invalid_grant invalid_refresh_token refresh_token_expired login_required login_failed \
        session_expired SessionExpired ExpiredSession credentials_expired bad_credentials bad_auth BadCredentials \
        AADSTS700082 AADSTS700016 AADSTS7000215 AADSTS7000222 AADSTS70043 AADSTS50173 AADSTS90002 AADSTS50126 AADSTS53000 AADSTS50034 \
        account_suspended account_deactivated account_disabled account_locked AccountDisabled AccountIsDisabled AccountProblem AllAccessDisabled \
        user_suspended organization_disabled organization_deactivated deactivated_workspace org_disabled \
        model_not_found ModelNotFound ModelNotFoundError model_not_available DeploymentNotFound deployment_not_found model_decommissioned \
        model_deprecated ModelDeprecated model_retired ModelNotOpen Model.AccessDenied ModelNotAllowed unsupported_country_region_territory \
        UnsupportedRegion unsupported_country ResourceGone method_deprecated discontinued EndpointDisabled \
        AccountDeletedException \
        CERT_HAS_EXPIRED CERT_NOT_YET_VALID SELF_SIGNED_CERT_IN_CHAIN DEPTH_ZERO_SELF_SIGNED_CERT UNABLE_TO_VERIFY_LEAF_SIGNATURE UNABLE_TO_GET_ISSUER_CERT_LOCALLY \
        UNABLE_TO_GET_ISSUER_CERT ERR_TLS_CERT_ALTNAME_INVALID CERTIFICATE_VERIFY_FAILED SSLCertVerificationError CERT_UNTRUSTED CERT_REVOKED CERT_SIGNATURE_FAILURE \
        ERR_CERT_AUTHORITY_INVALID ERR_CERT_DATE_INVALID ERR_CERT_COMMON_NAME_INVALID ERR_CERT_REVOKED NET::ERR_CERT_AUTHORITY_INVALID \
        SSLPeerUnverifiedException CertificateExpiredException CertPathValidatorException SunCertPathBuilderException CertificateException \
        SEC_ERROR_UNKNOWN_ISSUER SEC_ERROR_EXPIRED_CERTIFICATE MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT ERR_SSL_VERSION_OR_CIPHER_MISMATCH \
        EACCES EPERM ENOSPC EROFS EDQUOT EIO ENEEDAUTH E401 E403 EINTEGRITY PermissionError AccessDeniedException \
        DiskFull disk_full SQLITE_FULL SQLITE_READONLY SQLITE_CORRUPT SQLITE_NOTADB SQLITE_IOERR SQLITE_AUTH SQLITE_PERM \
        NOAUTH WRONGPASS NOPERM MISCONF CORRUPT corrupted DataCorruption data_loss CorruptionException index_read_only \
        ReadOnlyFileSystem read_only_file_system ReadOnly READONLY FileSystemReadOnlyException KMSAccessDenied KMSDisabled KMS.DisabledException KMS.NotFoundException \
        EAUTH InvalidIdentityTokenException RegionDisabledException KeyVaultAccessDenied \
        InsufficientStorage InsufficientStorageSpace NoSuchModel end_of_life unlicensed license_expired LicenseExpired \
        InvalidSubscriptionId SubscriptionNotRegistered MissingSubscriptionRegistration DisabledSubscription ReadOnlyDisabledSubscription SubscriptionNotFound RequestDisallowedByPolicy \
        ip_not_allowed ip_address_not_allowed IpAddressNotAllowed iam_policy_denied ORGANIZATION_POLICY_VIOLATION VPC_SERVICE_CONTROLS SECURITY_POLICY_VIOLATED \
        ADMIN_ONLY_OPERATION client_certificate_required app_not_installed integration_disabled feature_not_enabled not_entitled entitlement_required \
        ERR_MODULE_SIGNATURE_INVALID SSL_ERROR_BAD_CERT_DOMAIN not_allowed_token_type PROJECT_SUSPENDED GatewayAuthFailed \
        UnrecognizedClient ClientAuthenticationError CredentialUnavailableError NoCredentialsError CredentialsProviderError DefaultCredentialsError \
        RefreshError TokenRefreshError SSOTokenLoadError UnauthorizedSSOTokenError TokenRetrievalError NoAuthHandlerFound PartialCredentialsError P1000 P1010"),

    // ---- the input is wrong ---------------------------------------------------
    (Semantic, Exact, "invalid_parameter_value unknown_parameter unsupported_parameter unsupported_value missing_required_parameter parameter_missing parameter_unknown \
        parameter_invalid_empty parameter_invalid_integer invalid_prompt invalid_image invalid_image_format invalid_base64 image_parse_error \
        invalid_value invalid_type invalid_function_parameters invalid_json_schema string_above_max_length array_above_max_length integer_above_max_value \
        content_policy_violation content_filter ResponsibleAIPolicyViolation DataInspectionFailed data_inspection_failed sensitive_words_detected \
        previous_response_not_found validation_error ValidationError validation_failed ValidationFailed VALIDATION_ERROR INVALID_INPUT invalid_input \
        UserInputError GRAPHQL_VALIDATION_FAILED GRAPHQL_PARSE_FAILED BAD_USER_INPUT PERSISTED_QUERY_NOT_FOUND undefinedField argumentLiteralsIncompatible MAX_COST_EXCEEDED \
        INVALID_FIELD MALFORMED_QUERY MALFORMED_ID REQUIRED_FIELD_MISSING FIELD_CUSTOM_VALIDATION_EXCEPTION DUPLICATE_VALUE DUPLICATES_DETECTED ENTITY_IS_DELETED INVALID_CROSS_REFERENCE_KEY \
        STRING_TOO_LONG INVALID_TYPE JSON_PARSER_ERROR INVALID_EMAIL_ADDRESS \
        NoSuchKey NoSuchBucket NoSuchUpload NoSuchVersion NoSuchEntity NoSuchHostedZone BucketAlreadyExists BucketAlreadyOwnedByYou BucketNotEmpty EntityAlreadyExists EntityAlreadyExistsException \
        InvalidParameterValue InvalidParameterException InvalidParameter InvalidParameterCombination InvalidParameterValueException MissingParameter \
        MalformedXML MalformedPolicyDocument MalformedPolicy InvalidRange InvalidPart EntityTooLarge EntityTooSmall KeyTooLongError InvalidBucketName InvalidDigest BadDigest PreconditionFailed \
        ConditionalCheckFailed ConditionalCheckFailedException ConditionNotMet StaleObjectStateException VersionConflict version_conflict_engine_exception VersionConflictEngineException StaleElementReference OptimisticLockException stale_version \
        InvalidInstanceID.NotFound InvalidInstanceID.Malformed InvalidAMIID.NotFound InvalidGroup.NotFound InvalidGroup.Duplicate DBInstanceNotFound DBInstanceAlreadyExists RepositoryNotFoundException ImageNotFoundException \
        ResourceNotFoundException ResourceAlreadyExistsException ResourceAlreadyExists ResourceNotFound ResourceGroupNotFound RESOURCE_ALREADY_EXISTS FunctionNotFound QueueDoesNotExist NonExistentQueue StateMachineDoesNotExist ClusterNotFoundException \
        DependencyViolation InvalidPermission.Duplicate DuplicateKey DuplicateKeyException duplicate_key duplicate_entry already_exists_error email_already_exists name_taken name_already_exists \
        mapper_parsing_exception MapperParsingException strict_dynamic_mapping_exception document_parsing_exception illegal_argument_exception parsing_exception index_not_found_exception IndexNotFoundException document_missing_exception resource_already_exists_exception query_shard_exception x_content_parse_exception search_phase_parse number_format_exception \
        channel_not_found user_not_found users_not_found message_not_found file_not_found name_too_long no_text msg_too_long invalid_blocks invalid_arguments invalid_form_data invalid_post_type not_in_channel thread_not_found cant_update_message already_in_channel is_archived invalid_name invalid_cursor \
        resource_missing idempotency_key_reused invalid_number incorrect_number invalid_expiry_month invalid_expiry_year invalid_cvc incorrect_cvc expired_card email_invalid amount_too_small amount_too_large charge_already_refunded charge_already_captured coupon_expired customer_max_payment_methods \
        object_not_found invalid_json invalid_request_url \
        EINVAL ENOENT EEXIST EISDIR ENOTDIR ENOTEMPTY ENAMETOOLONG EBADF E404 ETARGET ERESOLVE EJSONPARSE ELIFECYCLE EBADENGINE EBADPLATFORM EUSAGE EUNSUPPORTEDPROTOCOL EINVALIDTAGNAME EINVALIDPACKAGENAME EPUBLISHCONFLICT E422 E400 E409 E405 ENOVERSIONS ENOWORKSPACES EDUPLICATEWORKSPACE ENOLOCK EADDRINUSE EADDRNOTAVAIL E2BIG EFBIG ENOTSUP EOPNOTSUPP EXDEV ELOOP EMLINK EDOM ERANGE ENOTSOCK EAFNOSUPPORT  EMESSAGE ENOEXEC ESRCH ECHILD EUNKNOWNCONFIG EMISSINGARG \
        ERR_MODULE_NOT_FOUND MODULE_NOT_FOUND ERR_INVALID_ARG_TYPE ERR_INVALID_ARG_VALUE ERR_INVALID_URL ERR_UNSUPPORTED_DIR_IMPORT ERR_REQUIRE_ESM ERR_PNPM_OUTDATED_LOCKFILE ERR_PNPM_NO_MATCHING_VERSION ERR_PNPM_FETCH_404 ERR_PNPM_NO_SCRIPT ERR_PNPM_PEER_DEP_ISSUES  ERR_INVALID_PROTOCOL ERR_ASSERTION ERR_UNKNOWN_FILE_EXTENSION \
        FileNotFoundError FileExistsError IsADirectoryError NotADirectoryError ModuleNotFoundError KeyError ValueError TypeError IndexError AttributeError NameError AssertionError SyntaxError IndentationError TabError \
        ZeroDivisionError RecursionError NotImplementedError UnicodeDecodeError UnicodeEncodeError OverflowError FloatingPointError UnboundLocalError JSONDecodeError StopIteration LookupError ReferenceError RangeError URIError EvalError \
        NullPointerException IllegalArgumentException IllegalStateException IndexOutOfBoundsException ArrayIndexOutOfBoundsException StringIndexOutOfBoundsException ClassCastException ClassNotFoundException NoClassDefFoundError NumberFormatException ArithmeticException UnsupportedOperationException StackOverflowError NoSuchMethodError \
        FileNotFoundException NoSuchFileException NoMethodError ArgumentError LoadError UndefinedVariableError InvalidOperationException ArgumentNullException ArgumentOutOfRangeException FormatException KeyNotFoundException NullReferenceException DivideByZeroException \
        IntegrityError UniqueViolation ForeignKeyViolation NotNullViolation CheckViolation UndefinedTable UndefinedColumn InvalidTextRepresentation DataError ProgrammingError UniqueConstraintViolation ConstraintViolationException \
        CommandNotFoundException ParameterBindingException ItemNotFoundException ParserError OutOfMemoryError MemoryError OutOfMemory \
        WRONGTYPE EXECABORT NOSCRIPT BUSYGROUP CROSSSLOT NOGROUP BUSYKEY \
        INVALID_REGISTRATION InvalidRegistration NotRegistered UNREGISTERED MismatchSenderId MissingRegistration invalid-registration-token registration-token-not-registered InvalidPackageName MessageTooBig \
        MessageRejected MailFromDomainNotVerifiedException MESSAGE_REJECTED MAIL_FROM_DOMAIN_NOT_VERIFIED CONFIGURATION_SET_DOES_NOT_EXIST TEMPLATE_DOES_NOT_EXIST INVALID_PARAMETER_VALUE InvalidMessageContents BatchEntryIdsNotDistinct EmptyBatchRequest InvalidBatchEntryId TooManyEntriesInBatchRequest BatchRequestTooLong \
        InvalidTemplateDeployment InvalidTemplate LinkedInvalidPropertyId PropertyChangeNotAllowed StorageAccountAlreadyTaken InvalidResourceName InvalidResourceReference BlobNotFound ContainerNotFound BlobAlreadyExists ContainerAlreadyExists InvalidQueryParameterValue OutOfRangeInput TargetConditionNotMet UpdateConditionNotSatisfied EntityNotFound InvalidUri \
        InvalidSchema MissingSchema InvalidURL LocationParseError UnsupportedProtocol extra_forbidden \
        duplicate invalidQuery required invalidParameter fieldNotWritable \
        invalid_image_url invalid_tool_call tool_use_failed json_validate_failed unsupported_country_code invalid_encoded_content InvalidEndpoint \
        strict_mode_violation ElementNotFound NoSuchElementException NoSuchElementError StaleElementReferenceException InvalidSelectorException ElementNotInteractableException ElementClickInterceptedException no_such_element \
        INVALID_QUERY unknown_field undefined_column undefined_table MethodNotAllowed UnsupportedMediaType NotAcceptable unprocessable_entity UnprocessableEntity \
        CredentialsInputError CompilationError CompileError TestFailure AssertionFailedError ExpectationFailed ERR_TEST_FAILURE ComparisonFailure \
        MailboxNotFound invalid_recipient ParamValidationError ClientRequestTokenMismatch IdempotentParameterMismatch IdempotentParameterMismatchException JsonParseException JsonMappingException HttpMessageNotReadableException \
        MethodArgumentNotValidException ConstraintError CircularDependency P2002 P2003 P2025 P1012 UnsatisfiableError PackagesNotFoundError ResolutionImpossible ResolvePackageNotFound DirectoryNotEmpty TransportUriTooLong QueryParsingException"),

    // ---- locks and the like ---------------------------------------------------
    (Lock, Exact, "lock_timeout idempotency_key_in_use idempotent_request_in_progress request_in_progress operation_in_progress OperationInProgress AnotherOperationInProgress ConflictingOperationInProgress \
        TransactionConflict TransactionConflictException TransactionInProgressException ConcurrentModification ConcurrentModificationException ConcurrentUpdateException OperationAborted OperationAbortedException PriorRequestNotComplete \
        ResourceInUseException UPDATE_IN_PROGRESS UNABLE_TO_LOCK_ROW UnableToLockRow SQLITE_BUSY SQLITE_LOCKED WriteConflict LockTimeout LockNotAvailable lock_not_available LeaseAlreadyPresent LeaseIdMissing \
        deadlock_detected DeadlockDetected DeadlockLoserDataAccessException DEADLOCK LockWaitTimeout LockAcquisitionException CannotAcquireLockException PessimisticLockException SerializationFailure serialization_failure TransactionRollbackError could_not_serialize \
        ELOCKED ELOCKHELD EDEADLK EDEADLOCK ETXTBSY EBUSY ENOLCK ER_LOCK_DEADLOCK ER_LOCK_WAIT_TIMEOUT resource_locked ResourceLocked P2034 locked FileLocked RetryableConflict resourceNotReady conflict_retry DatabaseLocked StateLocked ConflictRetryable \
        ConcurrentAppendException ConcurrentTransactionException ConcurrentWriteException TransactionLockTimeout TransactionAborted RowLocked lock_conflict resourceIsLocked \
        Neo.TransientError.Transaction.DeadlockDetected TransientTransactionError RetryableWriteError"),

    // ---- passes by itself -------------------------------------------------------
    (Transient, Exact, "overloaded overloaded_error OverloadedError engine_overloaded engine_overloaded_error server_overloaded model_overloaded api_overloaded over_capacity \
        temporarily_unavailable TemporarilyUnavailable temporary_failure service_unavailable_error ServiceUnavailable ServiceUnavailableException service_unavailable SERVICE_UNAVAILABLE SERVER_UNAVAILABLE ServerBusy server_busy ServiceBusy \
        backendError backend_error gateway_timeout GatewayTimeout bad_gateway BadGateway upstream_error upstream_timeout UpstreamTimeout upstream_connect_error upstream_unavailable \
        ModelNotReadyException ModelNotReady model_loading ModelLoading model_is_loading ModelTimeoutException ModelTimeout ModelErrorException ModelUnavailable loading_model LOADING \
        request_timeout RequestTimeout RequestTimeoutException RequestTimedOut TimeoutError TimeoutException timeout_error timed_out OperationTimedOut read_timeout connect_timeout deadline_exceeded_error ServerTimeout ServerTimeoutError ReadTimeout ReadTimeoutError ConnectTimeout ConnectTimeoutError ConnectionTimeout ConnectTimeoutException SocketTimeoutException SocketTimeout \
        HttpTimeoutException PoolTimeout WriteTimeout APITimeoutError APIConnectionError APIConnectionTimeoutError TaskTimedOut Sandbox.Timedout EndpointConnectionError NetworkTimeout MaxTimeMSExpired QUERY_TIMEOUT QueryTimeout query_timeout function_invocation_timeout FUNCTION_INVOCATION_TIMEOUT EDGE_FUNCTION_INVOCATION_TIMEOUT \
        ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT ESOCKETTIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN EHOSTDOWN ENETRESET EAI_AGAIN ENOTFOUND EAI_NONAME EAI_FAIL EAI_NODATA EAGAIN EWOULDBLOCK EINTR ENOTCONN ESHUTDOWN ETIME ESTALE ECONNECTION ESOCKET EDNS ENFILE \
        ERR_SOCKET_TIMEOUT ERR_SOCKET_CONNECTION_TIMEOUT ERR_NETWORK ERR_STREAM_PREMATURE_CLOSE ERR_HTTP2_STREAM_ERROR ERR_HTTP2_STREAM_CANCEL ERR_HTTP2_GOAWAY_SESSION UND_ERR_CONNECT_TIMEOUT UND_ERR_HEADERS_TIMEOUT UND_ERR_BODY_TIMEOUT UND_ERR_SOCKET UND_ERR_ABORTED ERR_CONNECTION_REFUSED ERR_CONNECTION_RESET ERR_CONNECTION_CLOSED ERR_CONNECTION_TIMED_OUT ERR_NAME_NOT_RESOLVED ERR_INTERNET_DISCONNECTED ERR_TIMED_OUT ERR_EMPTY_RESPONSE ERR_ADDRESS_UNREACHABLE ERR_NETWORK_CHANGED ERR_NETWORK_IO_SUSPENDED ERR_HTTP2_PROTOCOL_ERROR ERR_PROXY_CONNECTION_FAILED NS_ERROR_CONNECTION_REFUSED NS_ERROR_NET_TIMEOUT NS_ERROR_NET_RESET NS_ERROR_UNKNOWN_HOST \
        ConnectionError ConnectionRefusedError ConnectionResetError ConnectionAbortedError BrokenPipeError ConnectionRefused ConnectionReset ConnectionClosed ConnectionClosedError ConnectionClosedException ConnectionLost NewConnectionError NameResolutionError MaxRetryError ProtocolError RemoteDisconnected IncompleteRead ChunkedEncodingError RemoteProtocolError ConnectError ClientConnectorError ClientConnectorDNSError ServerDisconnectedError ClientOSError NetworkError NETWORK_ERROR network_error SocketException UnknownHostException ConnectException NoRouteToHostException NoHttpResponseException HttpHostConnectException ConnectionPoolTimeoutException connection_error connection_timeout CONNECTION_ERROR OpenTimeout gaierror herror UnresolvedAddressException ClosedChannelException AsyncRequestTimeoutException \
        AutoReconnect NetworkTimeoutError ServerSelectionTimeoutError MongoServerSelectionError MongoNetworkError MongoNetworkTimeoutError MongoTimeoutError NotWritablePrimary NotPrimaryError PrimarySteppedDown NotWritablePrimaryError InterruptedDueToReplStateChange InterruptedAtShutdown ShutdownInProgress HostUnreachable HostNotFound \
        PROTOCOL_CONNECTION_LOST ER_CON_COUNT_ERROR SequelizeConnectionRefusedError SequelizeConnectionError CannotGetJdbcConnectionException CommunicationsException JDBCConnectionException AdminShutdown CannotConnectNow TooManyConnections too_many_connections QueryCanceled \
        EsRejectedExecutionException es_rejected_execution_exception circuit_breaking_exception process_cluster_event_timeout_exception no_shard_available_action_exception unavailable_shards_exception master_not_discovered_exception receive_timeout_transport_exception node_not_connected_exception connect_transport_exception timeout_exception search_context_timeout \
        CLUSTERDOWN MASTERDOWN TRYAGAIN NOREPLICAS LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION NotLeaderForPartition BrokerNotAvailable COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS REQUEST_TIMED_OUT NETWORK_EXCEPTION NotEnoughReplicas KafkaTimeoutError NoBrokersAvailable KafkaConnectionError \
        INSTITUTION_NOT_RESPONDING INSTITUTION_DOWN INSTITUTION_NOT_AVAILABLE ClusterUnavailable ServerNotReady ApiServerNotReady DependencyTimeout SubscriptionTimeout TransientServerError retryable_error SERVER_IS_BUSY try_again_later retry_later insufficient_system_resource InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacity ZONE_RESOURCE_POOL_EXHAUSTED ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS AllocationFailed SpotInterruption EC2SpotInterruption \
        batch_expired server_shutting_down SQLITE_INTERRUPT ImagePullTimeout NetworkNotReady NodeNotReady WorkerLostError P1001 P1002 P1008 P1017 P2024 StreamClosedError ClientDisconnectedError WebSocketConnectionClosedException websocket_closed stream_interrupted stream_error upstream_stream_error internal_stream_error IncompleteReadError PrematureCloseError StreamResetError \
        ServerUnavailable server_unavailable ServiceNotReady ProviderTimeout provider_unavailable provider_overloaded NoHealthyUpstream no_healthy_upstream"),

    // ---- as broad as a status ---------------------------------------------------
    (Persistent, Broad, "PERMISSION_DENIED UNAUTHENTICATED unauthorized Forbidden FORBIDDEN forbidden_error permission_denied AuthenticationRequired unauthenticated NotLoggedIn restricted denied Gone ResourceExpired Unauthorized ProxyAuthenticationRequired"),
    (Semantic, Broad, "EENVELOPE idempotency_error INVALID_ARGUMENT invalid_request_error invalid_request InvalidRequest InvalidRequestException bad_request BadRequest BadRequestError BAD_REQUEST NOT_FOUND NotFound not_found_error NotFoundError NotFoundException ALREADY_EXISTS AlreadyExists AlreadyExistsException FAILED_PRECONDITION OUT_OF_RANGE UNIMPLEMENTED Invalid notImplemented \
        ValidationException invalid_argument InvalidOperation Conflict conflict_error ConflictException ResourceConflictException CONFLICT unsupported NotSupported ParseError parse_error SyntaxErrorOrAccessRuleViolation card_error invalid TransactionCanceledException BulkWriteError WriteErrors no_such_resource UserError user_error client_error ClientRequestException Expired"),
    (Transient, Broad, "UNAVAILABLE INTERNAL internal_error internal_server_error InternalServerError InternalServerErrorException InternalFailure InternalError INTERNAL_ERROR INTERNAL_SERVER_ERROR server_error ServerError ServerException ServerFault api_error APIError DEADLINE_EXCEEDED DeadlineExceeded ABORTED CANCELLED timeout Timeout TIMEOUT Unavailable UnexpectedServerError fatal_error internalServiceException unknown_server_error provider_error ProviderError InternalServiceError InternalServiceException"),
    (Rate, Broad, "RESOURCE_EXHAUSTED ResourceExhausted"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_table() {
        #[rustfmt::skip]
        let rows = [
            ("a plain code", "insufficient_quota", Some((Cost, Exact))),
            ("an AWS type with a namespace", "com.amazonaws.dynamodb.v20120810#ThrottlingException", Some((Rate, Exact))),
            ("an AWS header with a URL", "ThrottlingException:http://example.com/doc/", Some((Rate, Exact))),
            ("a Java class", "java.net.SocketTimeoutException", Some((Transient, Exact))),
            ("a Firebase code", "messaging/registration-token-not-registered", Some((Semantic, Exact))),
            ("a broad code stays broad", "INVALID_ARGUMENT", Some((Semantic, Broad))),
            ("an ending does not matter", "overloaded_error", Some((Transient, Exact))),
            ("an unknown code says nothing", "frobnicated", None),
            ("punctuation alone says nothing", "--", None),
        ];
        for (name, code, want) in rows {
            assert_eq!(lookup(code), want, "row: {name}");
        }
    }

    #[test]
    fn only_shapes_of_codes_count_in_text() {
        assert_eq!(lookup_token("timeout"), None);
        assert_eq!(lookup_token("invalid"), None);
        assert_eq!(lookup_token("sealed"), None);
        assert_eq!(lookup_token("ECONNRESET"), Some((Transient, Exact)));
        assert_eq!(lookup_token("AccessDenied"), Some((Persistent, Exact)));
    }

    #[test]
    fn no_name_has_two_meanings() {
        let mut seen: HashMap<String, Reading> = HashMap::new();
        for (meaning, weight, names) in NAMES {
            for name in names.split_whitespace() {
                let reading = (*meaning, *weight);
                let before = seen.insert(normalise(name), reading);
                assert!(
                    before.is_none_or(|before| before == reading),
                    "{name}: {before:?} and {reading:?}"
                );
            }
        }
    }
}
