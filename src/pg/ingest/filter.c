/*
 * filter.c
 *	  Whether a text is one condition over the item table, and nothing else.
 *
 * A filter is SQL that is put into a query, so PostgreSQL's own parser decides
 * what it is.  "SELECT filter" must be a single statement that selects a single
 * expression and has no other clause; and the same text between the parentheses
 * of the query's WHERE must be that same expression.  So nothing that closes a
 * parenthesis, begins a comment or a statement can leave its place.  The query is
 * then analyzed: it may call no volatile function and lock no row.  It runs
 * read-only and as the caller, so privileges and row-level security apply to all
 * that it reads.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"

#include "pg/ingest/ingest_private.h"

#define BEFORE "SELECT "

/* The text being parsed, and where in it the filter begins. */
typedef struct Parsing
{
	const char *filter;
	int			place;
} Parsing;

/* A position in a text of ours becomes one in the filter. */
static void
parsing(void *argument)
{
	const Parsing *text = argument;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - text->place, 1));
		internalerrquery(text->filter);
	}
	errcontext("the filter of items");
}

pg_noreturn static void
reject(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("filter is not one condition"),
			 errdetail("%s", detail),
			 errhint("A filter is an expression over the columns of the item table, such as: price < 5 AND category = 'toys'.")));
	pg_unreachable();
}

/* The only statement of a text, which has no semicolon. */
static RawStmt *
only_statement(const char *text)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	RawStmt    *statement;

	if (list_length(statements) != 1)
		reject("It holds more than one statement.");
	statement = linitial_node(RawStmt, statements);
	if (statement->stmt_len != 0)
		reject("It holds a semicolon.");
	if (!IsA(statement->stmt, SelectStmt))
		reject("It is a statement.");
	return statement;
}

/* The expression that a filter is. */
static Node *
only_expression(const char *filter)
{
	SelectStmt *select = castNode(SelectStmt, only_statement(psprintf(BEFORE "%s", filter))->stmt);
	ResTarget  *target;

	if (select->op != SETOP_NONE)
		reject("It goes on after its expression.");
	if (select->targetList == NIL)
		reject("It is empty.");
	if (list_length(select->targetList) > 1)
		reject("It holds more than one expression.");
	target = linitial_node(ResTarget, select->targetList);
	if (select->distinctClause != NIL || select->intoClause != NULL ||
		select->fromClause != NIL || select->whereClause != NULL || select->groupClause != NIL ||
		select->havingClause != NULL || select->windowClause != NIL || select->valuesLists != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL || select->limitCount != NULL ||
		select->lockingClause != NIL || select->withClause != NULL || target->name != NULL)
		reject("It goes on after its expression.");
	return target->val;
}

static bool
locks_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return ((Query *) node)->rowMarks != NIL || query_tree_walker((Query *) node, locks_rows, context, 0);
	return expression_tree_walker(node, locks_rows, context);
}

static void
check_condition(Node *condition)
{
	/* planning brings what calls leave out: arguments with a default */
	if (contain_volatile_functions(condition) ||
		contain_volatile_functions((Node *) expression_planner((Expr *) copyObject(condition))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("filter calls a volatile function"),
				 errdetail("What a filter lets through must not change while a statement runs."),
				 errhint("Use columns of the item table, and functions that are immutable or stable.")));
	if (locks_rows(condition, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("filter locks rows"),
				 errhint("Leave FOR UPDATE and FOR SHARE out.")));
}

char *
fmoe_filtered_query(const char *query, const char *filter, QueryEnvironment *environment)
{
	char	   *before = psprintf("%s (\n", query);
	char	   *text = psprintf("%s%s\n)", before, filter);
	Parsing		state = {.filter = filter, .place = strlen(BEFORE)};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = parsing,
		.arg = &state
	};
	RawStmt    *statement;
	Node	   *condition;

	error_context_stack = &callback;
	condition = only_expression(filter);
	state.place = pg_mbstrlen(before);
	statement = only_statement(text);
	if (!equal(castNode(SelectStmt, statement->stmt)->whereClause, condition))
		reject("It means something else between parentheses.");
	check_condition(parse_analyze_fixedparams(statement, text, NULL, 0, environment)->jointree->quals);
	error_context_stack = callback.previous;
	return text;
}
