//! Records: plain structs whose fields are the columns of one table, and the four statements that
//! every table needs, built from the field list so that no list of columns is written twice.

use std::fmt::Write as _;

use keyferry_domain::Timestamp;
use keyferry_domain::page::{Page, PageRequest};

use crate::database::On;
use crate::error::{Result, StoreError};
use crate::row::{Column, Param, Row};

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Names the row.
    Key,
    /// Written once.
    Fix,
    /// Can be changed.
    Set,
}

/// A struct that is one row of one table.
pub(crate) trait Record: Sized {
    /// The table.
    const TABLE: &'static str;
    /// What a row is, for errors: `connection`.
    const WHAT: &'static str;
    /// Every column, separated by commas.
    const COLUMNS: &'static str;
    /// What each column is for.
    const PARTS: &'static [(&'static str, Part)];

    fn from_row(row: &Row) -> Result<Self>;

    /// The values in the order of [`Self::PARTS`].
    fn params(&self) -> Vec<Param>;
}

/// Declares a public struct and its [`Record`].
macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $name:ident in $table:literal as $what:literal {
            $(#[$first_doc:meta])* $first_part:ident $first:ident: $first_type:ty,
            $($(#[$field_doc:meta])* $part:ident $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(#[$first_doc])* pub $first: $first_type,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $crate::record::Record for $name {
            const TABLE: &'static str = $table;
            const WHAT: &'static str = $what;
            const COLUMNS: &'static str =
                concat!(stringify!($first), $(", ", stringify!($field)),*);
            const PARTS: &'static [(&'static str, $crate::record::Part)] = &[
                (stringify!($first), $crate::record::part!($first_part)),
                $((stringify!($field), $crate::record::part!($part)),)*
            ];

            fn from_row(row: &$crate::row::Row) -> $crate::error::Result<Self> {
                Ok(Self {
                    $first: row.get(stringify!($first))?,
                    $($field: row.get(stringify!($field))?,)*
                })
            }

            fn params(&self) -> Vec<$crate::row::Param> {
                vec![
                    $crate::row::Column::to_param(&self.$first),
                    $($crate::row::Column::to_param(&self.$field),)*
                ]
            }
        }
    };
}
pub(crate) use record;

macro_rules! part {
    (key) => {
        $crate::record::Part::Key
    };
    (fix) => {
        $crate::record::Part::Fix
    };
    (set) => {
        $crate::record::Part::Set
    };
}
pub(crate) use part;

impl On<'_> {
    /// Reads the rows that `rest` (`WHERE … ORDER BY … LIMIT …`) chooses.
    pub(crate) async fn select<R: Record>(
        &mut self,
        rest: &str,
        params: Vec<Param>,
    ) -> Result<Vec<R>> {
        let sql = format!("SELECT {} FROM {} {rest}", R::COLUMNS, R::TABLE);
        self.query(R::TABLE, sql, params).await?.iter().map(R::from_row).collect()
    }

    /// Reads the one row that `rest` chooses.
    pub(crate) async fn select_one<R: Record>(
        &mut self,
        rest: &str,
        params: Vec<Param>,
    ) -> Result<Option<R>> {
        Ok(self.select(rest, params).await?.pop())
    }

    /// Adds a row; a taken key is [`StoreError::AlreadyExists`], on either engine, also within a
    /// transaction that goes on.
    pub(crate) async fn insert<R: Record>(&mut self, record: &R) -> Result<()> {
        let places: Vec<String> = (1..=R::PARTS.len()).map(|n| format!("${n}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            R::TABLE,
            R::COLUMNS,
            places.join(", ")
        );
        match self.execute(sql, record.params()).await? {
            0 => Err(StoreError::AlreadyExists { what: R::WHAT }),
            _ => Ok(()),
        }
    }

    /// Adds many rows by one statement; none of them when one is refused.
    ///
    /// The statement has places for the next power of two of rows, so that a handful of statements,
    /// prepared once, serves every number; what is left over is NULL and filtered out again.
    pub(crate) async fn insert_all<'r, R: Record + 'r>(
        &mut self,
        records: impl IntoIterator<Item = &'r R>,
    ) -> Result<()> {
        let mut params: Vec<Param> = records.into_iter().flat_map(Record::params).collect();
        let Some(first) = params.get(..R::PARTS.len()) else { return Ok(()) };
        let nothing: Vec<Param> = first.iter().map(Param::to_null).collect();
        let count = params.len() / nothing.len();
        for _ in count..count.next_power_of_two() {
            params.extend_from_slice(&nothing);
        }
        // SQLite looks up each numbered place in a list of all of them; PostgreSQL knows no other.
        let is_numbered = !self.is_embedded();
        let mut sql = format!("INSERT INTO {} ({}) SELECT * FROM (VALUES ", R::TABLE, R::COLUMNS);
        for place in 0..params.len() {
            sql.push_str(match (place, place % nothing.len()) {
                (0, _) => "(",
                (_, 0) => "), (",
                _ => ", ",
            });
            if is_numbered {
                // Writing to a String does not fail.
                let _ = write!(sql, "${}", place + 1);
            } else {
                sql.push('?');
            }
        }
        sql.push_str(")) AS rows WHERE column1 IS NOT NULL");
        self.execute(sql, params).await.map(drop)
    }

    /// Writes the changeable columns of a row that has a `version`, if it still has the record's
    /// version; returns the new one.
    pub(crate) async fn save<R: Record>(&mut self, record: &R) -> Result<i64> {
        self.save_where(record, "", Vec::new()).await
    }

    /// Like [`Self::save`], with a further condition on the row as it was before, in which each `?`
    /// stands for the next of `values`.
    pub(crate) async fn save_where<R: Record>(
        &mut self,
        record: &R,
        condition: &str,
        values: Vec<Param>,
    ) -> Result<i64> {
        let (mut changes, mut keys, mut params) = (Vec::new(), Vec::new(), Vec::new());
        for ((column, part), param) in R::PARTS.iter().zip(record.params()) {
            let list = match part {
                Part::Set => &mut changes,
                Part::Key => &mut keys,
                Part::Fix if *column == "version" => &mut keys,
                Part::Fix => continue,
            };
            params.push(param);
            list.push(format!("{column} = ${}", params.len()));
        }
        let mut condition = condition.to_owned();
        for value in values {
            params.push(value);
            condition = condition.replacen('?', &format!("${}", params.len()), 1);
        }
        let sql = format!(
            "UPDATE {} SET {}, version = version + 1 WHERE {}{condition} RETURNING version",
            R::TABLE,
            changes.join(", "),
            keys.join(" AND ")
        );
        let rows = match self.change(R::TABLE, sql, params).await {
            Err(error) if error.is_unique_violation() => {
                return Err(StoreError::AlreadyExists { what: R::WHAT });
            }
            rows => rows?,
        };
        match rows.first() {
            Some(row) => row.get("version"),
            None => Err(self.stale(record).await?),
        }
    }

    /// Changes the rows that `rest` (`SET … WHERE …`) chooses, and returns them as they are then.
    pub(crate) async fn update_returning<R: Record>(
        &mut self,
        rest: &str,
        params: Vec<Param>,
    ) -> Result<Vec<R>> {
        let sql = format!("UPDATE {} {rest} RETURNING {}", R::TABLE, R::COLUMNS);
        self.change(R::TABLE, sql, params).await?.iter().map(R::from_row).collect()
    }

    /// Makes the error of a lost compare-and-set, with the version that the row has now.
    pub(crate) async fn stale<R: Record>(&mut self, record: &R) -> Result<StoreError> {
        let (mut conditions, mut params) = (Vec::new(), Vec::new());
        for ((column, part), param) in R::PARTS.iter().zip(record.params()) {
            if *part == Part::Key {
                params.push(param);
                conditions.push(format!("{column} = ${}", params.len()));
            }
        }
        let sql = format!("SELECT version FROM {} WHERE {}", R::TABLE, conditions.join(" AND "));
        let rows = self.query(R::TABLE, sql, params).await?;
        let current_version = rows.first().map(|row| row.get("version")).transpose()?;
        Ok(StoreError::Stale { what: R::WHAT, current_version })
    }
}

/// The `WHERE … ORDER BY … LIMIT …` of a list: conditions from a fixed set of texts, values bound.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    text: String,
    params: Vec<Param>,
}

impl Filter {
    /// Starts with the condition that every list of an organization has.
    pub(crate) fn organization(id: &keyferry_domain::id::OrganizationId) -> Self {
        let mut filter = Self::default();
        filter.equal("organization_id", id);
        filter
    }

    fn condition(&mut self, text: &str) {
        self.text.push_str(if self.text.is_empty() { "WHERE " } else { " AND " });
        self.text.push_str(text);
    }

    /// Binds a value and returns its place.
    pub(crate) fn bind(&mut self, value: &impl Column) -> usize {
        self.params.push(value.to_param());
        self.params.len()
    }

    /// Adds a condition without values.
    pub(crate) fn fixed(&mut self, text: &'static str) {
        self.condition(text);
    }

    /// Adds a condition in which `?` stands for the value, as often as needed.
    pub(crate) fn with(&mut self, text: &'static str, value: &impl Column) {
        let place = self.bind(value);
        self.condition(&text.replace('?', &format!("${place}")));
    }

    /// Adds `column = value`.
    pub(crate) fn equal(&mut self, column: &'static str, value: &impl Column) {
        let place = self.bind(value);
        self.condition(&format!("{column} = ${place}"));
    }

    /// Adds `column = value` when there is a value.
    pub(crate) fn equal_if<T: Column>(&mut self, column: &'static str, value: Option<&T>) {
        if let Some(value) = value {
            self.equal(column, value);
        }
    }

    /// Adds a search for text anywhere in a folded column.
    pub(crate) fn contains_if(&mut self, column: &'static str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let escaped = fold(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let place = self.bind(&format!("%{escaped}%"));
            self.condition(&format!("{column} LIKE ${place} ESCAPE '\\'"));
        }
    }

    /// Ends with ascending order by `column`, after the cursor.
    pub(crate) fn ascending(
        self,
        column: &'static str,
        page: &PageRequest,
    ) -> (String, Vec<Param>) {
        self.ordered(column, ">", "", page)
    }

    /// Ends with descending order by `column`, after the cursor.
    pub(crate) fn descending(
        self,
        column: &'static str,
        page: &PageRequest,
    ) -> (String, Vec<Param>) {
        self.ordered(column, "<", " DESC", page)
    }

    fn ordered(
        mut self,
        column: &'static str,
        comparison: &str,
        direction: &str,
        page: &PageRequest,
    ) -> (String, Vec<Param>) {
        if let Some(cursor) = &page.cursor {
            let place = self.bind(cursor);
            self.condition(&format!("{column} {comparison} ${place}"));
        }
        let limit = self.bind(&(i64::from(page.limit) + 1));
        (format!("{} ORDER BY {column}{direction} LIMIT ${limit}", self.text), self.params)
    }

    /// Ends with descending order by moment, and by the place in the chain where that is the same;
    /// goes with [`chain_cursor`].
    pub(crate) fn descending_by_chain(
        mut self,
        page: &PageRequest,
    ) -> Result<(String, Vec<Param>)> {
        if let Some(cursor) = &page.cursor {
            let mut parts = cursor.splitn(3, '.');
            let mut part = || parts.next().ok_or(StoreError::InvalidCursor);
            let mut number = || part()?.parse::<i64>().map_err(|_| StoreError::InvalidCursor);
            let (at, sequence) = (number()?, number()?);
            let chain = part()?.to_owned();
            let (at, sequence) = (self.bind(&at), self.bind(&sequence));
            let chain = self.bind(&chain);
            self.condition(&format!("(at, chain, sequence) < (${at}, ${chain}, ${sequence})"));
        }
        let limit = self.bind(&(i64::from(page.limit) + 1));
        let order = "ORDER BY at DESC, chain DESC, sequence DESC";
        Ok((format!("{} {order} LIMIT ${limit}", self.text), self.params))
    }

    /// Ends with ascending order by a name that need not be unique, then by `id`; goes with
    /// [`name_cursor`].
    pub(crate) fn ascending_by_name(mut self, page: &PageRequest) -> Result<(String, Vec<Param>)> {
        if let Some(cursor) = &page.cursor {
            let (name, id): (String, String) =
                serde_json::from_str(cursor).map_err(|_| StoreError::InvalidCursor)?;
            let name = self.bind(&name);
            let id = self.bind(&id);
            self.condition(&format!("(name_folded, id) > (${name}, ${id})"));
        }
        let limit = self.bind(&(i64::from(page.limit) + 1));
        Ok((format!("{} ORDER BY name_folded, id LIMIT ${limit}", self.text), self.params))
    }
}

/// Returns the cursor after an entry of the audit record.
pub(crate) fn chain_cursor(at: Timestamp, chain: &str, sequence: i64) -> String {
    format!("{}.{sequence}.{chain}", at.millis())
}

/// Returns the cursor after an entry of a list by name.
pub(crate) fn name_cursor(name_folded: &str, id: &str) -> String {
    crate::row::to_json(&(name_folded, id))
}

/// Returns the form in which names and addresses are compared without case.
pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Reads one page by a finished filter.
pub(crate) async fn page<R: Record>(
    on: &mut On<'_>,
    (rest, params): (String, Vec<Param>),
    request: &PageRequest,
    cursor: impl Fn(&R) -> String,
) -> Result<Page<R>> {
    let items = on.select(&rest, params).await?;
    Ok(Page::from_overfetch(items, request.limit, cursor))
}
