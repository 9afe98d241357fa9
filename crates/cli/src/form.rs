//! Filling in a connection type's form: from options, or by asking field by field.
//!
//! The fields come from the server, as the provider declares them; nothing about a type is known
//! here. Whether a value is right is decided by the server.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use keyferry_api::connection_types::{CredentialFormView, FieldView};
use keyferry_api::credentials::CredentialInput;
use keyferry_api::secrets::SecretInput;
use keyferry_domain::credential::CredentialKind;

use crate::context::Context;
use crate::error::CliError;
use crate::prompts;
use crate::secret_source::{SecretReader, SecretSource, split_pair};

type Result<T> = std::result::Result<T, CliError>;

/// Fields as options.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Fields")]
pub(crate) struct FieldArguments {
    /// A field that is not secret: a setting, or a user name; `NAME=@PATH` reads a file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A secret field, and where it is: `NAME=@PATH`, `NAME=-` (standard input) or `NAME=env:VARIABLE`
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    secret: Vec<String>,
    /// A file of a credential of kind `values`: `NAME=@PATH` or `NAME=-`
    #[arg(long = "file", value_name = "NAME=SOURCE")]
    file: Vec<String>,
    /// Kind of the credential, where the type takes several
    #[arg(long, value_name = "KIND", value_parser = crate::lookup::parse::<CredentialKind>)]
    kind: Option<CredentialKind>,
}

impl FieldArguments {
    /// Tells whether nothing was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && !self.has_secrets()
    }

    /// Tells whether something was given that only a credential has.
    pub(crate) fn has_secrets(&self) -> bool {
        !self.secret.is_empty() || !self.file.is_empty() || self.kind.is_some()
    }
}

/// What is to be filled in.
pub(crate) struct Form<'a> {
    /// The settings of the type.
    pub(crate) settings: &'a [FieldView],
    /// The kinds of credential to choose from; empty when an existing one is used.
    pub(crate) credentials: &'a [CredentialFormView],
    /// What settings hold now; they need not be given again.
    pub(crate) present: Option<&'a BTreeMap<String, String>>,
    /// Whether a credential must come out.
    pub(crate) wants_credential: bool,
}

/// A form that was filled in.
#[derive(Debug)]
pub(crate) struct Filled {
    /// Settings, the present ones included.
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether a setting was given.
    pub(crate) has_new_settings: bool,
    /// The credential, when one was asked for or given.
    pub(crate) credential: Option<CredentialInput>,
}

/// Fields as they were given, by name.
struct Given {
    public: BTreeMap<String, String>,
    secret: BTreeMap<String, SecretSource>,
    files: BTreeMap<String, SecretSource>,
}

impl Given {
    fn read(arguments: &FieldArguments) -> Result<Self> {
        let mut public = BTreeMap::new();
        for text in &arguments.set {
            let (name, value) = split_pair("--set", text)?;
            insert(&mut public, "--set", name, value.to_owned())?;
        }
        let sources = |flag: &str, texts: &[String]| {
            let mut out = BTreeMap::new();
            for text in texts {
                let (name, source) = split_pair(flag, text)?;
                let source = SecretSource::parse(&format!("{flag} {name}"), source)?;
                insert(&mut out, flag, name, source)?;
            }
            Ok::<_, CliError>(out)
        };
        let secret = sources("--secret", &arguments.secret)?;
        let files = sources("--file", &arguments.file)?;
        if let Some(name) = public.keys().find(|name| secret.contains_key(*name)) {
            return Err(CliError::invalid(format!("`{name}` is given twice")));
        }
        Ok(Self { public, secret, files })
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.public.keys().chain(self.secret.keys())
    }
}

fn insert<T>(map: &mut BTreeMap<String, T>, flag: &str, name: &str, value: T) -> Result<()> {
    match map.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(CliError::invalid(format!("{flag} {name} is given twice"))),
    }
}

/// Fills in a form.
pub(crate) fn fill(
    context: &Context,
    form: &Form<'_>,
    arguments: &FieldArguments,
) -> Result<Filled> {
    let given = Given::read(arguments)?;
    let is_setting = |name: &str| form.settings.iter().any(|field| field.name == name);
    let chosen = choose_kind(context, form, arguments, &given)?;
    refuse_unknown(form, chosen, &given)?;
    let mut filler =
        Filler { context, given: &given, reader: context.secrets(), missing: Vec::new() };
    let mut settings = form.present.cloned().unwrap_or_default();
    let mut has_new_settings = false;
    for field in form.settings {
        let is_kept = form.present.is_some() && !given.public.contains_key(&field.name);
        if !is_kept && let Some(value) = filler.public_value(field)? {
            has_new_settings = true;
            settings.insert(field.name.clone(), value);
        }
    }
    let credential = match chosen {
        None => None,
        Some(chosen) => Some(filler.credential(chosen, is_setting)?),
    };
    filler.finish()?;
    Ok(Filled { settings, has_new_settings, credential })
}

/// Returns the credential's form that fits what was given, or that the person chooses.
fn choose_kind<'a>(
    context: &Context,
    form: &Form<'a>,
    arguments: &FieldArguments,
    given: &Given,
) -> Result<Option<&'a CredentialFormView>> {
    let kinds = || {
        form.credentials.iter().map(|one| format!("`{}`", one.kind)).collect::<Vec<_>>().join(", ")
    };
    if let Some(kind) = arguments.kind {
        let found = form.credentials.iter().find(|one| one.kind == kind.as_str());
        return found.map(Some).ok_or_else(|| {
            CliError::invalid(format!("a credential of kind `{kind}` does not fit here"))
                .hint(format!("it takes: {}", kinds()))
        });
    }
    let names: Vec<&String> = given
        .names()
        .filter(|name| !form.settings.iter().any(|field| field.name == **name))
        .collect();
    let is_given = !names.is_empty() || !given.files.is_empty();
    if !is_given && !form.wants_credential {
        return Ok(None);
    }
    if is_given {
        let fitting = form.credentials.iter().find(|one| {
            let is_values = one.kind == CredentialKind::Values.as_str();
            let has_field = |name: &&String| one.fields.iter().any(|field| field.name == **name);
            is_values || (given.files.is_empty() && names.iter().all(has_field))
        });
        if let Some(fitting) = fitting {
            return Ok(Some(fitting));
        }
    } else if form.credentials.len() > 1 && context.is_interactive() {
        let titles = form.credentials.iter().map(|one| one.title.clone()).collect();
        let title = prompts::select("Kind of credential:", titles)?;
        return Ok(form.credentials.iter().find(|one| one.title == title));
    }
    Ok(form.credentials.first())
}

/// Refuses names that the form does not have, before anything is read or asked.
fn refuse_unknown(
    form: &Form<'_>,
    chosen: Option<&CredentialFormView>,
    given: &Given,
) -> Result<()> {
    let is_values = chosen.is_some_and(|one| one.kind == CredentialKind::Values.as_str());
    let fields = || form.settings.iter().chain(chosen.iter().flat_map(|one| &one.fields));
    for name in given.names() {
        let field = fields().find(|field| field.name == *name);
        let is_public = given.public.contains_key(name);
        match field {
            Some(field) if field.secret && is_public => return Err(secret_in_set(name)),
            Some(_) => {}
            None if is_values && is_public => return Err(secret_in_set(name)),
            None if is_values => {}
            None => {
                let known: Vec<String> =
                    fields().map(|field| format!("`{}`", field.name)).collect();
                return Err(CliError::invalid(format!("there is no field `{name}` here"))
                    .hint(format!("fields: {}", known.join(", "))));
            }
        }
    }
    if !given.files.is_empty() && !is_values {
        return Err(CliError::invalid("`--file` is for credentials of kind `values` only")
            .hint("a field takes a file by `--set NAME=@PATH` or `--secret NAME=@PATH`"));
    }
    Ok(())
}

fn secret_in_set(name: &str) -> CliError {
    CliError::invalid(format!("`{name}` is secret and does not go into `--set`"))
        .note("the command line is seen by every user of this machine and kept in its history")
        .hint(format!(
            "use `--secret {name}=@PATH`, `--secret {name}=-` or `--secret {name}=env:VARIABLE`"
        ))
        .hint("if that was the secret, change it")
}

struct Filler<'a> {
    context: &'a Context,
    given: &'a Given,
    reader: SecretReader<'a>,
    missing: Vec<String>,
}

impl Filler<'_> {
    /// Returns a field that is not secret: as given, asked for, or left to its default.
    fn public_value(&mut self, field: &FieldView) -> Result<Option<String>> {
        let flag = format!("--set {}", field.name);
        if let Some(source) = self.given.secret.get(&field.name) {
            let text = self.reader.text(&flag, source, field.multiline)?;
            return Ok(Some(text.expose().clone()));
        }
        if let Some(value) = self.given.public.get(&field.name) {
            if !value.starts_with('@') {
                return Ok(Some(value.clone()));
            }
            let source = SecretSource::parse(&flag, value)?;
            return Ok(Some(self.reader.text(&flag, &source, field.multiline)?.expose().clone()));
        }
        if self.context.is_interactive() {
            if field.multiline {
                let text = self.ask_file(field)?;
                return Ok(text.map(|text| text.expose().clone()));
            }
            if field.required && field.default.is_none() {
                return prompts::text(&field.label, &field.help).map(Some);
            }
            return prompts::optional_text(&optional(field), &field.help, field.default.as_deref());
        }
        if field.required && field.default.is_none() {
            self.missing.push(format!("--set {}=…  {}", field.name, field.help));
        }
        Ok(None)
    }

    fn secret_value(&mut self, field: &FieldView) -> Result<Option<SecretInput>> {
        let flag = format!("--secret {}", field.name);
        if let Some(source) = self.given.secret.get(&field.name) {
            return Ok(Some(self.reader.text(&flag, source, field.multiline)?.into()));
        }
        if self.context.is_interactive() {
            if field.multiline {
                return Ok(self.ask_file(field)?.map(SecretInput::from));
            }
            loop {
                let secret = prompts::secret(&format!("{}:", optional(field)), &field.help)?;
                if !secret.expose().is_empty() {
                    return Ok(Some(secret.into()));
                }
                if !field.required {
                    return Ok(None);
                }
            }
        }
        if field.required {
            self.missing.push(format!("--secret {}=@PATH  {}", field.name, field.help));
        }
        Ok(None)
    }

    /// Asks for the path of a file: terminals mangle several lines that are pasted.
    fn ask_file(
        &mut self,
        field: &FieldView,
    ) -> Result<Option<keyferry_domain::secret::SecretString>> {
        let label = format!("{} (path of a file)", optional(field));
        loop {
            let path = prompts::optional_text(&label, &field.help, None)?;
            match path {
                None if field.required => {}
                None => return Ok(None),
                Some(path) => {
                    match self.reader.text(&field.label, &SecretSource::File(path), true) {
                        Ok(text) => return Ok(Some(text)),
                        Err(error) => self.context.printer.error(&error),
                    }
                }
            }
        }
    }

    fn credential(
        &mut self,
        chosen: &CredentialFormView,
        is_setting: impl Fn(&str) -> bool,
    ) -> Result<CredentialInput> {
        let kind: CredentialKind = chosen.kind.parse().map_err(|_| {
            CliError::invalid(format!(
                "the server has a kind `{}` that is not known here",
                chosen.kind
            ))
            .hint("use a `keyferry` of the server's version")
        })?;
        let mut fields = BTreeMap::new();
        let mut files = BTreeMap::new();
        if kind == CredentialKind::Values {
            for (name, source) in &self.given.secret {
                if !is_setting(name) {
                    let flag = format!("--secret {name}");
                    fields.insert(name.clone(), self.reader.text(&flag, source, false)?.into());
                }
            }
            for (name, source) in &self.given.files {
                let bytes = self.reader.bytes(&format!("--file {name}"), source)?;
                let text =
                    keyferry_domain::secret::SecretString::from(STANDARD.encode(bytes.expose()));
                files.insert(name.clone(), text.into());
            }
            if fields.is_empty() && files.is_empty() {
                self.ask_values(&mut fields, &mut files)?;
            }
        }
        for field in &chosen.fields {
            let value = if field.secret {
                self.secret_value(field)?
            } else {
                self.public_value(field)?.map(|text| {
                    SecretInput::from(keyferry_domain::secret::SecretString::from(text))
                })
            };
            if let Some(value) = value {
                fields.insert(field.name.clone(), value);
            }
        }
        Ok(CredentialInput { kind, fields, files })
    }

    fn ask_values(
        &mut self,
        fields: &mut BTreeMap<String, SecretInput>,
        files: &mut BTreeMap<String, SecretInput>,
    ) -> Result<()> {
        if !self.context.is_interactive() {
            self.missing.push("--secret NAME=@PATH or --file NAME=@PATH  at least one".to_owned());
            return Ok(());
        }
        loop {
            let is_done = !fields.is_empty() || !files.is_empty();
            let help = if is_done { "empty when there are no more" } else { "like API_KEY" };
            let Some(name) = prompts::optional_text("Name of a value or file", help, None)? else {
                if is_done {
                    return Ok(());
                }
                continue;
            };
            let value = prompts::secret("Value:", "empty to read it from a file")?;
            if !value.expose().is_empty() {
                fields.insert(name, value.into());
                continue;
            }
            let path = prompts::text("Path of the file", "it is stored as it is")?;
            match self.reader.bytes("the file", &SecretSource::File(path)) {
                Ok(bytes) => {
                    let text = STANDARD.encode(bytes.expose());
                    files.insert(name, keyferry_domain::secret::SecretString::from(text).into());
                }
                Err(error) => self.context.printer.error(&error),
            }
        }
    }

    fn finish(self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let error = CliError::invalid("some fields are missing");
        Err(self.missing.into_iter().fold(error, CliError::note))
    }
}

fn optional(field: &FieldView) -> String {
    if field.required || field.default.is_some() {
        field.label.clone()
    } else {
        format!("{} (optional)", field.label)
    }
}
