// What is to be undone when a test is over, the last first: the page before the server that it talks to.

const stacks = new WeakMap();

/** Calls `undo` when the test is over. Every one is called; the first error fails the test. */
export function later(context, undo) {
  let stack = stacks.get(context);
  if (!stack) {
    stack = [];
    stacks.set(context, stack);
    context.after(async () => {
      const errors = [];
      for (const call of stack.reverse()) {
        try {
          await call();
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length > 0) throw errors[0];
    });
  }
  stack.push(undo);
}
